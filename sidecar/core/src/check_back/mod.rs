//! The check-back machine: which unresolved transactions to ask about, and when.
//!
//! It belongs to the leader and is not durable: after a restart the unresolved
//! transactions are named to it again. "Unknown" never decides, and no count ever does.
//! A checker that cannot be reached burns no attempt and delays no other target.

mod scheduler;
mod target;

#[cfg(test)]
mod tests;

pub use scheduler::Scheduler;

use std::sync::Arc;

use crate::{breaker, half_message::Verdict};

/// How check-back behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// From Prepare to the first check, unless a transaction says otherwise. It gives the
    /// application time to resolve by itself.
    pub first_check_ms: u64,
    /// Ceiling of the wait after the first check without a verdict; it doubles then.
    pub backoff_base_ms: u64,
    /// Highest ceiling of the wait between two checks.
    pub backoff_cap_ms: u64,
    /// From Prepare until the transaction is parked, if it was asked about in vain and
    /// unless it says otherwise.
    pub park_after_ms: u64,
    /// A check without an answer after this time counts as unreachable.
    pub check_timeout_ms: u64,
    /// From a verdict, or a decision to park, until it is told again if nobody confirmed it.
    pub settle_retry_ms: u64,
    /// Checks of one target at the same time.
    pub parallel_per_target_max: usize,
    /// Transactions of one target that are tracked.
    pub tracked_per_target_max: usize,
    /// Transactions that are tracked in all.
    pub tracked_max: usize,
    /// When unreachable answers keep checks away from a target.
    pub breaker: breaker::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_check_ms: 1_000,
            backoff_base_ms: 1_000,
            backoff_cap_ms: 30_000,
            park_after_ms: 60 * 60 * 1_000,
            check_timeout_ms: 10_000,
            settle_retry_ms: 1_000,
            parallel_per_target_max: 1_024,
            tracked_per_target_max: 65_536,
            tracked_max: 262_144,
            breaker: breaker::Options::default(),
        }
    }
}

/// What a checker found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The local transaction ended so, definitely and for ever.
    Definite(Verdict),
    /// The checker was reached, but the local transaction may still go either way.
    Unknown,
    /// No checker could be reached.
    Unreachable,
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A transaction is prepared and not resolved. Telling it again changes nothing.
    Unresolved {
        /// The transaction.
        id: u128,
        /// Whom to ask: what fails together, such as a database or a producer group.
        target: Arc<str>,
        /// When it was prepared, or resumed.
        prepared_at_ms: u64,
        /// Its own [`Options::first_check_ms`].
        first_check_ms: Option<u64>,
        /// Its own [`Options::park_after_ms`].
        park_after_ms: Option<u64>,
    },
    /// What became of a check.
    Answer {
        /// The transaction.
        id: u128,
        /// What was found out.
        answer: Answer,
    },
    /// The transaction is recorded as resolved or parked, by whomever.
    Settled {
        /// The transaction.
        id: u128,
    },
    /// Time has passed.
    Tick,
}

/// What a driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask how the local transaction ended; answer with [`Input::Answer`] within
    /// [`Options::check_timeout_ms`].
    Check {
        /// The transaction.
        id: u128,
        /// Whom to ask.
        target: Arc<str>,
        /// 1 for the first; unreachable checkers do not count.
        attempt: u32,
    },
    /// Record the verdict; say [`Input::Settled`] when that is durable. It is told again
    /// until then.
    Resolve {
        /// The transaction.
        id: u128,
        /// The verdict.
        verdict: Verdict,
    },
    /// Park the transaction; say [`Input::Settled`] when that is durable. It is told again
    /// until then.
    Park {
        /// The transaction.
        id: u128,
    },
}

/// Why a transaction is not tracked. It must be named again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many transactions of one target.
    #[error("{limit} transactions of {target} are being checked back on already")]
    TargetFull {
        /// The target.
        target: Arc<str>,
        /// How many may be.
        limit: usize,
    },
    /// Too many transactions.
    #[error("{limit} transactions are being checked back on already")]
    Full {
        /// How many may be.
        limit: usize,
    },
}

/// What is known about one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// The target.
    pub target: Arc<str>,
    /// Its tracked transactions.
    pub tracked: usize,
    /// Its running checks.
    pub checking: usize,
    /// False while its breaker keeps checks away.
    pub reachable: bool,
}
