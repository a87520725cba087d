//! Taking messages of committed transactions to the data groups that they are for.
//!
//! What waits is in the state of its data group, with a number. Whoever leads that group
//! delivers it, as often as needed: the target knows by the numbers what it has. So nothing is
//! lost and nothing is doubled, whichever side stops at whatever moment.

mod courier;
mod lane;
mod run;

pub use courier::{Courier, CourierError};
pub use run::run;

/// Messages that are delivered at once.
pub const FORWARD_MESSAGES_MAX: usize = 1_024;

/// Stored bytes that are delivered at once. A message that is larger goes alone.
pub const FORWARD_BYTES_MAX: usize = 1 << 20;

/// The wait before the second attempt; it doubles with each further one.
const RETRY_MS: u64 = 20;

/// The longest wait between two attempts.
const RETRY_MS_MAX: u64 = 5_000;
