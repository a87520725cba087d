use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use super::{
    Error, REDIS_URL_ENV, port,
    supervised::{Supervised, find_program},
};

const ATTEMPTS_MAX: u32 = 5;
const PING_TIMEOUT_MS: u64 = 200;

/// A private Redis that keeps nothing on disk; stopped on drop.
pub struct Redis {
    url: String,
    _server: Supervised,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self, Error> {
        let mut last = Self::start_on(port::free()?);
        for _ in 1..ATTEMPTS_MAX {
            match last {
                Err(Error::NotStarted { .. }) => last = Self::start_on(port::free()?),
                started => return started,
            }
        }
        last
    }

    /// Starts one on a port that the caller chose, such as that of one stopped before.
    pub fn start_on(port: u16) -> Result<Self, Error> {
        let program = find_program("redis-server", &[]).ok_or(Error::NotInstalled {
            program: "redis-server",
            searched: "anywhere else",
            package: "redis-server",
            env: REDIS_URL_ENV,
        })?;
        let directory = tempfile::Builder::new()
            .prefix("outrigger-redis-")
            .tempdir()
            .map_err(|error| Error::io("create a temporary directory", &error))?;
        let port_text = port.to_string();
        let directory_text = directory.path().to_string_lossy().into_owned();
        let program_text = program.to_string_lossy().into_owned();
        let server = Supervised::start(
            "redis-server",
            directory,
            "TERM",
            None,
            [
                program_text.as_str(),
                "--bind",
                "127.0.0.1",
                "--port",
                &port_text,
                "--dir",
                &directory_text,
                "--save",
                "",
                "--appendonly",
                "no",
            ],
        )?
        .wait_until(|_| answers_ping(port).unwrap_or(false))?;
        Ok(Self {
            url: format!("redis://127.0.0.1:{port}/"),
            _server: server,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl AsRef<str> for Redis {
    fn as_ref(&self) -> &str {
        &self.url
    }
}

fn answers_ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_millis(PING_TIMEOUT_MS)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
