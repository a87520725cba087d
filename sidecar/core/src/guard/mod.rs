//! The guard machine: the idempotency record of one key.
//!
//! ```text
//! ABSENT -> IN_PROGRESS(fingerprint, token, fencing, deadline) -> DONE(result, ttl)
//! IN_PROGRESS --deadline--> taken over with fencing + 1
//! IN_PROGRESS --release--> ABSENT, the fencing number kept
//! ```

mod codec;
mod record;

#[cfg(test)]
mod tests;

pub use codec::DecodeError;
pub use record::Record;

use bytes::Bytes;

/// How much a guard remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The full record: fingerprint, token, fencing number, deadline, result.
    Record,
    /// Only who holds the key: no fingerprint is compared and no result is kept.
    SetNx,
}

/// What may be asked of a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Take the guard, or learn why not.
    Acquire {
        /// How much is to be remembered.
        mode: Mode,
        /// Who asks; the same token may acquire again and is answered alike.
        token: String,
        /// A digest of the request; empty turns the comparison off.
        fingerprint: Bytes,
        /// How long the holder may take before others may take over.
        lease_ms: u64,
    },
    /// Prolong the deadline.
    Extend {
        /// Who asks.
        token: String,
        /// The new time to live of the lease, from now.
        lease_ms: u64,
    },
    /// Record the result.
    Complete {
        /// Who asks.
        token: String,
        /// What later callers are given.
        result: Bytes,
        /// How long it is remembered, from now.
        ttl_ms: u64,
    },
    /// Give the guard back without a result.
    Release {
        /// Who asks.
        token: String,
    },
    /// Count an attempt. The counter is independent of the rest of the record.
    Increment {
        /// How long the counter lives after this increment.
        ttl_ms: u64,
    },
}

/// The answer of a guard. Nothing is an error: losing a race is what guards are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The caller holds the guard.
    Acquired {
        /// Grows strictly with every holder of this key.
        fencing: u64,
        /// An earlier holder let its deadline pass: its effect may have happened.
        takeover: bool,
    },
    /// Somebody else holds it.
    Busy {
        /// When the holder's deadline is.
        retry_after_ms: u64,
    },
    /// It was completed before.
    Done {
        /// What the holder left.
        result: Bytes,
    },
    /// The key is in use with another fingerprint.
    Mismatch,
    /// Extend, Complete or Release: the token still held the guard, and it is done.
    Held,
    /// Extend, Complete or Release: the token does not hold the guard; nothing changed.
    Lost,
    /// Increment: how many there were, this one included.
    Count(u64),
}
