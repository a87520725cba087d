//! Participants that cost next to nothing, in a process of their own: what is measured is
//! whoever calls them.

use std::{
    io::stdin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
/// Begun and not done; ask again much later.
const ONGOING: &[u8] = b"HTTP/1.1 425 Too Early\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n";
const CONTENT_LENGTH: &[u8] = b"content-length:";
/// The largest request that is taken: bench sends small ones.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What the participants have seen.
#[derive(Default)]
struct Seen {
    holding: AtomicBool,
    held: AtomicU64,
    done: AtomicU64,
}

/// Serves two participants until standard input ends. The first line of the output says where:
/// one that always succeeds, one that can be told to hold on.
#[expect(clippy::print_stdout, reason = "it is read by the one that started it")]
pub(in crate::bench) async fn serve() -> anyhow::Result<()> {
    let seen = Arc::new(Seen::default());
    let (prompt, other) = (listen(None).await?, listen(Some(seen.clone())).await?);
    println!("{prompt} {other}");
    // Reading standard input blocks.
    tokio::task::spawn_blocking(move || obey(&seen)).await??;
    Ok(())
}

/// Every line of the input is a command, answered with how many calls the second participant
/// has held and done: `hold`, `release`, or `tell`.
#[expect(clippy::print_stdout, reason = "it is read by the one that started it")]
fn obey(seen: &Seen) -> std::io::Result<()> {
    for command in stdin().lines() {
        match command?.as_str() {
            "hold" => seen.holding.store(true, Ordering::SeqCst),
            "release" => seen.holding.store(false, Ordering::SeqCst),
            _ => {}
        }
        let held = seen.held.load(Ordering::SeqCst);
        println!("{held} {}", seen.done.load(Ordering::SeqCst));
    }
    Ok(())
}

/// Returns where.
async fn listen(seen: Option<Arc<Seen>>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                // One that breaks off is the caller's affair.
                let _ = answer(connection, seen.as_deref()).await;
            });
        }
    });
    Ok(address)
}

async fn answer(mut connection: TcpStream, seen: Option<&Seen>) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let mut received = BytesMut::with_capacity(4_096);
    loop {
        while let Some(length) = request_bytes(&received)? {
            received.advance(length);
            let holds = seen.is_some_and(|seen| seen.holding.load(Ordering::SeqCst));
            if let Some(seen) = seen {
                let count = if holds { &seen.held } else { &seen.done };
                count.fetch_add(1, Ordering::SeqCst);
            }
            let answer = if holds { ONGOING } else { DONE };
            connection.write_all(answer).await?;
        }
        if connection.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// How long the first request is, when all of it is there.
fn request_bytes(received: &[u8]) -> anyhow::Result<Option<usize>> {
    anyhow::ensure!(received.len() <= REQUEST_BYTES_MAX, "too large a request");
    let mut windows = received.windows(4);
    let Some(end) = windows.position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = received.get(..end).unwrap_or_default();
    let mut body = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let (name, value) = line.split_at(line.len().min(CONTENT_LENGTH.len()));
        if name.eq_ignore_ascii_case(CONTENT_LENGTH) {
            let value = std::str::from_utf8(value)?.trim();
            body = value.parse().context("content-length")?;
        }
    }
    let length = end + 4 + body;
    Ok((received.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_body_ends() {
        let one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..one.len() {
            assert_eq!(request_bytes(&one[..end]).unwrap(), None);
        }
        let two = [&one[..], &one[..]].concat();
        assert_eq!(request_bytes(&two).unwrap(), Some(one.len()));
        let none = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(request_bytes(none).unwrap(), Some(none.len()));
        assert!(request_bytes(b"P\r\ncontent-length: x\r\n\r\n").is_err());
    }
}
