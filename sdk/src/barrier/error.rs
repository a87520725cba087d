use std::time::Duration;

use crate::transaction::Abort;

/// Why a call has no outcome. Nothing of its effect is committed, except where a variant says
/// that it may be. Tell the saga that the outcome is unknown (HTTP 500 or 503): it calls
/// again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The effect failed, and was rolled back.
    #[error("the effect failed and was rolled back: {0}")]
    Failed(#[source] Abort),

    /// Others were in the way each time: deadlocks, serialisation failures, locks that were
    /// not had in time.
    #[error("others were in the way {attempts} times, come again: {source}")]
    Busy {
        /// How often it was tried.
        attempts: u32,
        /// How the last time ended.
        source: Conflict,
    },

    /// The database failed. When the connection was lost during the commit the effect may
    /// have happened; the row of the barrier will tell when the call is repeated.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),

    /// Redis failed. When the connection was lost before the answer the effect may have
    /// happened; the row of the barrier will tell when the call is repeated.
    #[cfg(feature = "redis")]
    #[error("redis failed: {0}")]
    Redis(#[from] redis::RedisError),

    /// The output or the reason of a refusal is too large to be remembered. In a database
    /// everything was rolled back. Redis cannot roll back: there the effect has happened,
    /// and a repeated call is answered with an empty output.
    #[error("the {what} has {bytes} bytes, at most {max_bytes} are allowed")]
    OutputTooLarge {
        /// `output` or `refusal`.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max_bytes: usize,
    },

    /// The effect went on after the database had given up its transaction, or it ended the
    /// transaction itself. What it did before is rolled back; what it did after that may be
    /// committed, which is why errors of the database must be passed on.
    #[error(
        "the transaction of {call} was over before its effect was: \
         errors of the database must be passed on"
    )]
    TransactionLost {
        /// The call.
        call: String,
    },

    /// A confirm whose try has not been done here.
    #[error("nothing to confirm: the try of step {step:?} of saga {saga_id:?} is not here")]
    NothingToConfirm {
        /// The saga.
        saga_id: String,
        /// The step.
        step: String,
    },

    /// The saga is older than any may be, so that rows of it may have been collected and
    /// nobody can tell what it has done here. It needs a person.
    #[error(
        "{call} is of a saga that is {} days old, the longest may be {} days old",
        days(*age),
        days(*longest)
    )]
    SagaTooOld {
        /// The call.
        call: String,
        /// How old it is.
        age: Duration,
        /// How old it may be.
        longest: Duration,
    },

    /// A row holds an outcome that is none.
    #[error("the row of {call} holds the unknown outcome {outcome:?}")]
    UnknownOutcome {
        /// The call.
        call: String,
        /// What it holds.
        outcome: String,
    },
}

impl Error {
    /// The effect's own error, when it was of type `E`.
    pub fn failed_with<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same call may have an outcome when it is repeated. No means that somebody
    /// has to change something first.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Busy { .. } | Self::Database(_) => true,
            #[cfg(feature = "redis")]
            Self::Redis(_) => true,
            Self::OutputTooLarge { .. }
            | Self::TransactionLost { .. }
            | Self::NothingToConfirm { .. }
            | Self::SagaTooOld { .. }
            | Self::UnknownOutcome { .. } => false,
        }
    }
}

/// What was in the way of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The database says so.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The effect says that the database said so.
    #[error(transparent)]
    Effect(Abort),
    /// A row changed between two statements.
    #[error("the row of {call} has changed meanwhile")]
    Changed {
        /// The call.
        call: String,
    },
}

/// Why nothing was collected, or not everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Rows are needed for as long as a saga can last.
    #[error(
        "retention is {} days, at least {} days are needed",
        days(*retention),
        days(*least)
    )]
    RetentionTooShort {
        /// What was asked for.
        retention: Duration,
        /// The longest saga, and a day.
        least: Duration,
    },
    /// The database failed. What was deleted before stays deleted.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

fn days(duration: Duration) -> f64 {
    (duration.as_secs_f64() / 864.0).floor() / 100.0
}
