//! Leases: how far a consumer group has come in a queue, and who works on what.
//!
//! [`Progress`] is the durable half, moved by [`Event`]s that went through the log.

mod event;
mod progress;

#[cfg(test)]
mod progress_tests;

pub use event::Event;
pub use progress::{DecodeError, Progress, Retry};
