//! Leases: how far a consumer group has come in a queue, and who works on what.
//!
//! [`Progress`] is the durable half, moved by [`Event`]s that went through the log.
//! [`Queue`] is the leader's half: it leases messages, and what it decides becomes an
//! event first and takes effect when the event is durable.

mod event;
mod message_groups;
mod progress;
mod protocol;
mod queue;
mod receipt;
mod settle;
mod slot;

#[cfg(test)]
mod progress_tests;
#[cfg(test)]
mod queue_tests;

pub use event::Event;
pub use progress::{DecodeError, Progress, Retry};
pub use protocol::{Candidate, Effect, Error, Extend, Input, Lease, Nack, Options, ReceiptError};
pub use queue::Queue;
pub use receipt::{NotAReceipt, Place, Receipt};
