use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError};
use tokio::time::Instant;

use super::append::{Appended, Request, decode_answer, decode_receipt, encode_request};
use crate::cluster::Exchange;
use crate::raft::receipts::Receipts;
use crate::raft::types::{LogId, NodeId, TypeConfig};

/// Requests on their way to one node, at most. The node holds as many itself.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Bytes on their way to one node, above which no further request is sent.
const BYTES_IN_FLIGHT_MAX: usize = 8 << 20;
/// How long it is waited for the next answer of a node that owes one. Long, because a disk may
/// take that long now and then, and sending everything again makes it no faster; a node that
/// is gone is noticed by its heartbeats.
const ANSWER_MS_MAX: u64 = 1_000;

/// A request that was sent.
struct Sent {
    prev: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
    /// Nobody waits for its answer any more.
    stale: bool,
}

/// An open stream of entries to a node, which answers in order.
pub(super) struct AppendStream {
    exchange: Exchange,
    sent: VecDeque<Sent>,
    bytes_in_flight: usize,
    /// When the node was given something to answer, or answered, whichever is later.
    heard_at: Instant,
    target: NodeId,
    receipts: Arc<Receipts>,
}

impl AppendStream {
    pub(super) fn new(target: NodeId, exchange: Exchange, receipts: Arc<Receipts>) -> Self {
        Self {
            target,
            receipts,
            exchange,
            sent: VecDeque::new(),
            bytes_in_flight: 0,
            heard_at: Instant::now(),
        }
    }

    /// Whoever waited for answers has gone away.
    pub(super) fn forget(&mut self) {
        self.sent.iter_mut().for_each(|sent| sent.stale = true);
    }

    fn owes(&self) -> bool {
        self.sent.iter().any(|sent| !sent.stale)
    }

    fn has_room(&self) -> bool {
        self.sent.len() < REQUESTS_IN_FLIGHT_MAX && self.bytes_in_flight < BYTES_IN_FLIGHT_MAX
    }

    fn deadline(&self) -> Option<Instant> {
        let owed = !self.sent.is_empty();
        owed.then(|| self.heard_at + Duration::from_millis(ANSWER_MS_MAX))
    }

    fn put(&mut self, sent: Sent) {
        if self.sent.is_empty() {
            self.heard_at = Instant::now();
        }
        self.bytes_in_flight += sent.bytes;
        self.sent.push_back(sent);
    }

    /// The answer, when somebody waits for it.
    fn answered(&mut self, answer: Option<Bytes>) -> Result<Option<Appended>, io::Error> {
        let answer = answer.ok_or_else(|| io::Error::other("the stream has ended"))?;
        let receipt = decode_receipt(&answer).map_err(io::Error::other)?;
        if let Some(upto) = receipt {
            self.receipts.received(self.target, upto);
            return Ok(None);
        }
        let sent = self.sent.pop_front();
        let sent = sent.ok_or_else(|| io::Error::other("an answer to nothing"))?;
        self.bytes_in_flight -= sent.bytes;
        self.heard_at = Instant::now();
        let answer = decode_answer(&answer, sent.prev, sent.last).map_err(io::Error::other)?;
        Ok((!sent.stale).then_some(answer))
    }
}

impl Drop for AppendStream {
    fn drop(&mut self) {
        self.receipts.forget(self.target);
    }
}

/// Sends requests as long as there is room, while answers come in.
pub(super) struct Session<'a, S> {
    /// Taken away when the stream is broken.
    stream: &'a mut Option<AppendStream>,
    /// Taken away when it has ended.
    requests: Option<S>,
    /// To be sent.
    next: Option<(Bytes, Sent)>,
}

enum Event {
    Answer(Option<Bytes>),
    Late,
    Room(bool),
    Request(Option<Request>),
}

impl<'a, S: Stream<Item = Request> + Unpin> Session<'a, S> {
    pub(super) fn new(stream: &'a mut Option<AppendStream>, requests: S) -> Self {
        Self {
            stream,
            requests: Some(requests),
            next: None,
        }
    }

    /// The next answer; nothing when all requests were answered, or after a failure.
    pub(super) async fn next(&mut self) -> Option<Result<Appended, RPCError<TypeConfig>>> {
        loop {
            let stream = self.stream.as_mut()?;
            if self.requests.is_none() && self.next.is_none() && !stream.owes() {
                return None;
            }
            let event = event(stream, &mut self.requests, self.next.is_some()).await;
            let broken = match event {
                Event::Answer(answer) => match stream.answered(answer) {
                    Ok(None) => continue,
                    Ok(Some(answer)) => {
                        if answer.is_err() {
                            // The node has ended the stream with it.
                            *self.stream = None;
                        }
                        return Some(Ok(answer));
                    }
                    Err(error) => error,
                },
                Event::Late => io::ErrorKind::TimedOut.into(),
                Event::Room(open) => {
                    let next = self.next.take();
                    let sent = next.filter(|_| open).and_then(|(frame, sent)| {
                        stream.exchange.frames.try_send(frame).ok().map(|()| sent)
                    });
                    match sent {
                        Some(sent) => {
                            stream.put(sent);
                            continue;
                        }
                        None => io::Error::other("the stream has ended"),
                    }
                }
                Event::Request(None) => {
                    self.requests = None;
                    continue;
                }
                Event::Request(Some(request)) => {
                    self.next = Some(encoded(&request, stream.receipts.are_asked_for()));
                    continue;
                }
            };
            *self.stream = None;
            return Some(Err(RPCError::Network(NetworkError::new(&broken))));
        }
    }
}

fn encoded(request: &Request, asking: bool) -> (Bytes, Sent) {
    let frame = encode_request(request, asking);
    let last = request.entries.last().map(|entry| entry.log_id);
    let sent = Sent {
        prev: request.prev_log_id,
        last: last.or(request.prev_log_id),
        bytes: frame.len(),
        stale: false,
    };
    (frame, sent)
}

/// What happens next. Nothing is lost when it is dropped.
async fn event<S: Stream<Item = Request> + Unpin>(
    stream: &mut AppendStream,
    requests: &mut Option<S>,
    waiting: bool,
) -> Event {
    let deadline = stream.deadline();
    let reads = !waiting && requests.is_some() && stream.has_room();
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let room = async {
        match waiting {
            // The place is ours: nobody else sends here.
            true => stream.exchange.frames.reserve().await.is_ok(),
            false => std::future::pending().await,
        }
    };
    let request = async {
        match requests {
            Some(requests) if reads => requests.next().await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = stream.exchange.answers.recv() => Event::Answer(answer),
        room = room => Event::Room(room),
        request = request => Event::Request(request),
        () = late => Event::Late,
    }
}
