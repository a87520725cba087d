//! From commands to entries: one batcher collects what all clients submit, in order, while
//! earlier entries are on their way.

mod batcher;
mod clock;
mod early;
#[cfg(test)]
mod early_tests;
mod error;
mod pending;
#[cfg(test)]
mod tests;
mod under_way;

pub(crate) use batcher::{Batcher, Limits, Propose};
pub(crate) use clock::Clock;
pub use clock::WallClock;
pub(crate) use early::Received;
pub use early::{Aftermath, REPLICATED_SYNC_MS_MAX};
pub use error::SubmitError;
pub use pending::Pending;
