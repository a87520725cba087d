//! From commands to entries: one batcher collects what all clients submit, in order, while
//! earlier entries are on their way.

mod batcher;
mod clock;
mod error;
mod pending;
#[cfg(test)]
mod tests;

pub(crate) use batcher::{Batcher, Limits, Propose};
pub(crate) use clock::Clock;
pub use clock::WallClock;
pub use error::SubmitError;
pub use pending::Pending;
