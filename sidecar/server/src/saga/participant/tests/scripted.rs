use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::saga::participant::Endpoint;

/// A participant that answers with whatever bytes a test wants.
pub(super) struct Scripted {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// What a participant has seen so far.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    closed: AtomicUsize,
}

/// What it does after a request.
pub(super) enum Reply {
    /// Sends this and waits for the next request.
    Send(Vec<u8>),
    /// Sends this and closes the connection.
    SendAndClose(Vec<u8>),
    /// Resets the connection.
    Reset,
}

/// One request.
pub(super) struct Received {
    /// From 0.
    pub(super) number: usize,
    /// Of how many connections this is one; from 0.
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// A complete answer.
pub(super) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

impl Scripted {
    /// Answers every request as the script says.
    pub(super) async fn start<S, F>(script: S) -> Self
    where
        S: Fn(Received) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (script.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    serve(stream, number, &seen, script).await;
                    seen.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// Answers every request alike.
    pub(super) async fn answering(bytes: Vec<u8>) -> Self {
        Self::start(move |_| {
            let bytes = bytes.clone();
            async move { Reply::Send(bytes) }
        })
        .await
    }

    /// Resets every connection before a request is read.
    pub(super) async fn resetting() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_zero_linger().unwrap();
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::http("endpoint", &format!("http://{}/reserve", self.address)).unwrap()
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Returns when it has closed so many connections.
    pub(super) async fn closed(&self, connections: usize) {
        until(|| self.seen.closed.load(Ordering::SeqCst) >= connections).await;
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Returns when something is so. It must be within a minute, so that a test that fails says
/// where.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("what was waited for has not come");
}

async fn serve<S, F>(mut stream: TcpStream, connection: usize, seen: &Seen, script: S)
where
    S: Fn(Received) -> F,
    F: Future<Output = Reply>,
{
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some((head, body)) = receive(&mut stream, &mut buffer).await {
        let number = seen.requests.fetch_add(1, Ordering::SeqCst);
        let received = Received {
            number,
            connection,
            head,
            body,
        };
        match script(received).await {
            // The other side may have gone away; then the next read says so.
            Reply::Send(bytes) => drop(stream.write_all(&bytes).await),
            Reply::SendAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

/// One request with a `content-length`, or nothing at the end of the connection.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
