//! The half-message machine: one transaction from Prepare to its one and only verdict.

mod machine;

#[cfg(test)]
mod tests;

pub use machine::HalfMessage;

/// How a local transaction ended. There is no third value: "unknown" never decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The messages become visible.
    Commit,
    /// The messages are dropped.
    Rollback,
}

/// What is recorded about a transaction that was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stored, invisible, and checked back on.
    Prepared,
    /// Visible to consumers, for ever.
    Committed,
    /// Dropped, for ever.
    RolledBack,
    /// Stored, invisible, and set aside for a person; nobody checks back on it.
    Parked,
}

impl State {
    /// The verdict, once there is one.
    #[must_use]
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Committed => Some(Verdict::Commit),
            Self::RolledBack => Some(Verdict::Rollback),
            Self::Prepared | Self::Parked => None,
        }
    }
}

/// What may be asked of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The application announces its messages.
    Prepare {
        /// A digest of the producer group and the messages: the same for a repeated call.
        fingerprint: u128,
    },
    /// The application, or a check-back that got a definite answer, says how the local
    /// transaction ended.
    Resolve {
        /// How it ended.
        verdict: Verdict,
    },
    /// Check-back gives the transaction up to a person.
    Park,
    /// A person decides.
    Decide {
        /// How the person decides.
        verdict: Verdict,
    },
    /// A person gives a parked transaction back to check-back.
    Resume,
}

/// What changed. A driver acts on the event that [`HalfMessage::step`] returns: on
/// `Resolved` it delivers or drops the messages, and it happens at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The messages are stored, invisible.
    Prepared {
        /// See [`Input::Prepare`].
        fingerprint: u128,
    },
    /// The verdict is final.
    Resolved {
        /// The verdict.
        verdict: Verdict,
    },
    /// Set aside for a person.
    Parked,
    /// Back in check-back.
    Resumed,
}

/// Why an input is refused. A refusal changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody prepared this transaction.
    #[error("the transaction was never prepared")]
    NotFound,
    /// The opposite verdict is recorded already.
    #[error(
        "the transaction was resolved with {recorded:?} before, and cannot become {requested:?}"
    )]
    Contradiction {
        /// What is recorded.
        recorded: Verdict,
        /// What was asked for.
        requested: Verdict,
    },
    /// The same id was prepared before with another producer group or other messages.
    #[error("the transaction was prepared before with other content")]
    ContentDiffers,
    /// Only a parked transaction can be resumed.
    #[error("the transaction is not parked but {state:?}")]
    NotParked {
        /// What it is.
        state: State,
    },
    /// A resolved transaction cannot be parked.
    #[error("the transaction was resolved with {recorded:?} before")]
    AlreadyResolved {
        /// What is recorded.
        recorded: Verdict,
    },
}
