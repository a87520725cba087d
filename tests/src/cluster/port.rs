//! Ports of this machine.

use std::{
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

use rand::Rng as _;
use tokio::time::timeout;

use super::CALL;

/// Ports below those that the system gives to outgoing connections, so that a node that is
/// started again finds its own ones free.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// The answer of an HTTP port, headers included.
///
/// # Errors
///
/// When there is none.
pub async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    Ok(timeout(CALL, asked).await??)
}

/// A port that nobody listens on, and that no other call in this process gets.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> anyhow::Result<String> {
    const ATTEMPTS_MAX: u32 = 1_000;
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut port = next.unwrap_or_else(|| rand::rng().random_range(PORTS));
    for _ in 0..ATTEMPTS_MAX {
        port = if port + 1 < PORTS.end {
            port + 1
        } else {
            PORTS.start
        };
        *next = Some(port);
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port in {PORTS:?}")
}
