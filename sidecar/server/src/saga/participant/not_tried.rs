use std::time::Duration;

/// A call was kept back: nothing was sent, and no attempt is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the participant was not called: {why}")]
pub struct NotTried {
    /// When it makes sense to try; jitter included.
    pub retry_after: Duration,
    /// Why.
    pub why: KeptBack,
}

/// Why a call was kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeptBack {
    /// The calls before it did not reach the authority.
    #[error("the calls before it did not reach it")]
    BreakerOpen,
    /// Too many calls to the authority wait already.
    #[error("{limit} calls wait for it already")]
    QueueFull {
        /// How many may.
        limit: usize,
    },
    /// It has waited for its turn in vain.
    #[error("it was busy for {limit_ms} ms")]
    Busy {
        /// How long a call waits.
        limit_ms: u64,
    },
    /// Too many authorities are being called.
    #[error("{limit} participants are being called already")]
    AuthoritiesFull {
        /// How many may be.
        limit: usize,
    },
}

impl KeptBack {
    /// For metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::QueueFull { .. } => "queue_full",
            Self::Busy { .. } => "busy",
            Self::AuthoritiesFull { .. } => "authorities_full",
        }
    }
}
