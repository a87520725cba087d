//! The batching Publish client, which every send, Prepare and Resolve of a
//! [`Client`](crate::Client) goes through.
//!
//! All operations travel in one bidirectional stream, in the order in which they were
//! called. There is no timer: while frames are under way the next one grows, so a lone
//! caller gets the lowest latency and a thousand callers share their frames.
//!
//! When the connection breaks, whatever was not answered is repeated in order on the next
//! one. Sends are numbered, so that a repeated one is stored once; Prepare and Resolve are
//! idempotent by their transaction id. What is not answered within
//! [`PublishOptions::retry_total_ms`] fails with [`Error::Unanswered`], which means that
//! nobody knows, or with [`Error::Unavailable`] when it has certainly not been sent.
//!
//! Frames are answered whole and in order. A send with a lower [`Durability`](crate::Durability)
//! therefore waits for synced operations in front of it and in the same frame; where that
//! matters, a [`Client`](crate::Client) of its own has a stream of its own.

mod buffer;
mod completion;
mod driver;
mod error;
mod frame;
mod options;
mod outbound;
mod pending;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use outrigger_proto::v1::{self, operation::Kind};
use prost::Message as _;
use tonic::transport::Channel;

pub use error::Error;
pub use options::PublishOptions;
pub use pending::{Answer, Pending, PrepareReceipt, ResolveReceipt, SendReceipt};

use shared::Shared;

/// What an operation counts at least against `in_flight_bytes_max`: what it costs besides
/// its own bytes, and so a bound on how many there can be.
const OPERATION_COST_BYTES_MIN: usize = 256;

/// The callers' end. Closes the client when it is dropped; what is under way is still sent.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    options: PublishOptions,
}

impl Publisher {
    /// Has to be called on a tokio runtime, which the stream then runs on.
    pub(crate) fn start(channel: Channel, options: PublishOptions) -> Self {
        let shared = Arc::new(Shared::new(&options));
        tokio::spawn(driver::drive(Arc::clone(&shared), channel));
        Self { shared, options }
    }

    pub(crate) async fn send(
        &self,
        message: v1::Message,
        durability: v1::Durability,
    ) -> Result<Pending<SendReceipt>, Error> {
        self.enqueue(operation(Kind::Send(message), durability))
            .await
    }

    pub(crate) fn try_send(
        &self,
        message: v1::Message,
        durability: v1::Durability,
    ) -> Result<Pending<SendReceipt>, Error> {
        self.try_enqueue(&operation(Kind::Send(message), durability))
    }

    /// The sidecar refuses less than the default; it is told what the messages ask for.
    pub(crate) async fn prepare(
        &self,
        request: v1::PrepareRequest,
        durability: v1::Durability,
    ) -> Result<Pending<PrepareReceipt>, Error> {
        self.enqueue(operation(Kind::Prepare(request), durability))
            .await
    }

    pub(crate) async fn resolve(
        &self,
        request: v1::ResolveRequest,
    ) -> Result<Pending<ResolveReceipt>, Error> {
        let unspecified = v1::Durability::Unspecified;
        self.enqueue(operation(Kind::Resolve(request), unspecified))
            .await
    }

    /// Waits until everything that was called before is answered.
    pub(crate) async fn flush(&self) {
        let all = u32::try_from(self.shared.room_bytes).unwrap_or(u32::MAX);
        // An error means that the driver has ended, and has answered everything.
        let _ = self.shared.room.acquire_many(all).await;
    }

    async fn enqueue<T>(&self, operation: v1::Operation) -> Result<Pending<T>, Error> {
        let cost = self.cost_of(&operation)?;
        match self.shared.room.acquire_many(cost).await {
            Ok(room) => room.forget(),
            Err(_) => return Err(Error::Closed),
        }
        Ok(self.push(&operation, cost))
    }

    fn try_enqueue<T>(&self, operation: &v1::Operation) -> Result<Pending<T>, Error> {
        let cost = self.cost_of(operation)?;
        match self.shared.room.try_acquire_many(cost) {
            Ok(room) => room.forget(),
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                return Err(Error::Full {
                    bytes: cost as usize,
                    limit_bytes: self.options.in_flight_bytes_max,
                });
            }
            Err(tokio::sync::TryAcquireError::Closed) => return Err(Error::Closed),
        }
        Ok(self.push(operation, cost))
    }

    fn push<T>(&self, operation: &v1::Operation, cost: u32) -> Pending<T> {
        let (pushed, is_closed) = {
            let mut buffer = self.shared.buffer();
            (buffer.push(operation, cost as usize), buffer.is_closed())
        };
        if is_closed {
            // The runtime that the driver ran on has ended just now.
            let finished = self.shared.buffer().abandon();
            self.shared.finish(finished);
        }
        if let Some(waker) = pushed.wake {
            waker.wake();
        }
        if pushed.call_driver {
            self.shared.attention.notify_one();
        }
        Pending::new(pushed.completion, pushed.index)
    }

    fn cost_of(&self, operation: &v1::Operation) -> Result<u32, Error> {
        let bytes = operation.encoded_len();
        let limit_bytes = self.options.operation_bytes_max.min(self.shared.room_bytes);
        match u32::try_from(bytes.max(OPERATION_COST_BYTES_MIN)) {
            Ok(cost) if bytes <= limit_bytes => Ok(cost),
            _ => Err(Error::TooLarge { bytes, limit_bytes }),
        }
    }
}

fn operation(kind: Kind, durability: v1::Durability) -> v1::Operation {
    v1::Operation {
        kind: Some(kind),
        durability: durability.into(),
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let waker = self.shared.buffer().close();
        if let Some(waker) = waker {
            waker.wake();
        }
        self.shared.attention.notify_one();
    }
}
