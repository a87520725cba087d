use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Error, MYSQL_URL_ENV, port,
    supervised::{Supervised, find_program},
    unprivileged::unprivileged,
};

const ATTEMPTS_MAX: u32 = 5;
const CONNECTIONS_MAX: u32 = 300;
/// Not on everybody's PATH.
const DEBIAN_DIRECTORY: &str = "/usr/sbin";

/// A private MariaDB; stopped on drop. It must survive killed processes, not power loss.
pub struct MySql {
    url: String,
    _server: Supervised,
}

impl MySql {
    /// Initialises a server in a temporary directory, starts it, waits until it answers.
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

    fn start_on(port: u16) -> Result<Self, Error> {
        let install = program("mariadb-install-db")?;
        let mariadbd = program("mariadbd")?;
        let run_as = unprivileged("mysql")?;
        let directory = tempfile::Builder::new()
            .prefix("outrigger-mysql-")
            .tempdir()
            .map_err(|error| Error::io("create a temporary directory", &error))?;
        if let Some((user, group)) = run_as {
            chown(directory.path(), Some(user), Some(group))
                .map_err(|error| Error::path("hand over", directory.path(), &error))?;
        }
        let data = directory.path().join("data");
        initialise(&install, &data, run_as)?;

        let arguments = [
            mariadbd.to_string_lossy().into_owned(),
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            format!("--socket={}", directory.path().join("socket").display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--max-connections={CONNECTIONS_MAX}"),
            "--skip-name-resolve".to_owned(),
            "--debug-no-sync".to_owned(),
            "--innodb-log-file-size=16M".to_owned(),
            "--innodb-buffer-pool-size=64M".to_owned(),
        ];
        let server = Supervised::start("mariadbd", directory, "TERM", run_as, arguments)?
            .wait_until(is_ready)?;
        Ok(Self {
            url: format!("mysql://root@127.0.0.1:{port}/mysql"),
            _server: server,
        })
    }

    /// The maintenance database, as its superuser.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl AsRef<str> for MySql {
    fn as_ref(&self) -> &str {
        &self.url
    }
}

fn program(name: &'static str) -> Result<PathBuf, Error> {
    find_program(name, &[PathBuf::from(DEBIAN_DIRECTORY)]).ok_or(Error::NotInstalled {
        program: name,
        searched: DEBIAN_DIRECTORY,
        package: "mariadb-server",
        env: MYSQL_URL_ENV,
    })
}

fn initialise(install: &Path, data: &Path, run_as: Option<(u32, u32)>) -> Result<(), Error> {
    let mut command = Command::new(install);
    command
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()))
        .arg("--auth-root-authentication-method=normal")
        .args(["--skip-test-db", "--skip-name-resolve"])
        .args(["--debug-no-sync", "--innodb-log-file-size=16M"])
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some((user, group)) = run_as {
        command.uid(user).gid(group);
    }
    let output = command
        .output()
        .map_err(|error| Error::path("run", install, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::Io {
        doing: "initialise a MariaDB".to_owned(),
        error: String::from_utf8_lossy(&said).into_owned(),
    })
}

fn is_ready(directory: &Path) -> bool {
    fs::read(directory.join("output"))
        .is_ok_and(|output| String::from_utf8_lossy(&output).contains("ready for connections"))
}
