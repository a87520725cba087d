use crate::Refusal;

/// Why a send, Prepare or Resolve failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sidecar said no. Nothing was stored.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),

    /// It left this process, and no answer came back in time. **It may have been stored.**
    /// Sending it again may store it twice; Prepare and Resolve may be repeated with the
    /// same transaction id.
    #[error(
        "no answer within {waited_ms} ms (retry_total_ms is {limit_ms}), it may have been stored; last cause: {cause}"
    )]
    Unanswered {
        /// How long it was tried.
        waited_ms: u64,
        /// [`PublishOptions::retry_total_ms`](crate::PublishOptions::retry_total_ms).
        limit_ms: u64,
        /// What went wrong last.
        cause: String,
    },

    /// The sidecar could not be reached in time, and nothing left this process: it was
    /// certainly not stored.
    #[error(
        "the sidecar could not be reached for {waited_ms} ms (retry_total_ms is {limit_ms}), nothing was sent; last cause: {cause}"
    )]
    Unavailable {
        /// How long it was tried.
        waited_ms: u64,
        /// [`PublishOptions::retry_total_ms`](crate::PublishOptions::retry_total_ms).
        limit_ms: u64,
        /// What went wrong last.
        cause: String,
    },

    /// There is no room for more unanswered operations. Only the `try_` calls answer
    /// this; the others wait for room.
    #[error(
        "no room for {bytes} more bytes in flight, the limit in_flight_bytes_max is {limit_bytes}"
    )]
    Full {
        /// What the operation needs.
        bytes: usize,
        /// [`PublishOptions::in_flight_bytes_max`](crate::PublishOptions::in_flight_bytes_max).
        limit_bytes: usize,
    },

    /// The operation is larger than what may be in flight altogether.
    #[error("an operation of {bytes} bytes is over the limit operation_bytes_max of {limit_bytes}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// [`PublishOptions::operation_bytes_max`](crate::PublishOptions::operation_bytes_max).
        limit_bytes: usize,
    },

    /// The sidecar answered something else than what was asked.
    #[error("the sidecar broke the protocol: {problem}")]
    Protocol {
        /// What was wrong with the answer.
        problem: String,
    },

    /// The client was shut down, or the tokio runtime it was connected on has ended.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later. [`Error::Unanswered`] says yes although
    /// repeating a plain send may then store the message twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unanswered { .. } | Self::Unavailable { .. } | Self::Full { .. } => true,
            Self::TooLarge { .. } | Self::Protocol { .. } | Self::Closed => false,
        }
    }

    /// Whether nobody can say if it was stored.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::Protocol { .. } => true,
            Self::Refused(_)
            | Self::Unavailable { .. }
            | Self::Full { .. }
            | Self::TooLarge { .. }
            | Self::Closed => false,
        }
    }

    /// The stable reason of a refusal.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) if !refusal.reason.is_empty() => Some(&refusal.reason),
            _ => None,
        }
    }
}
