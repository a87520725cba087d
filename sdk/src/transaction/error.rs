use uuid::Uuid;

use crate::{fence, publish};

/// What the application's part of a transaction fails with: any error.
pub type Abort = Box<dyn std::error::Error + Send + Sync>;

/// How a transaction failed, and what that means for the local database and the messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The messages could not be prepared. The local transaction was not begun.
    #[error("the messages could not be prepared: {0}")]
    Prepare(#[source] publish::Error),

    /// The application's part failed. The local transaction was rolled back and the
    /// messages are dropped. See [`Error::aborted_with`].
    #[error("rolled back: {0}")]
    Aborted(#[source] Abort),

    /// A check-back decided on rollback before the local transaction had begun. Nothing
    /// happened; run it again as a new transaction.
    #[error("transaction {id} was rolled back by a check-back before it began; nothing happened")]
    DecidedByCheckBack {
        /// The transaction.
        id: Uuid,
    },

    /// A message takes its body from the fence, but no payload was set. The local
    /// transaction was rolled back and the messages are dropped.
    #[error(
        "transaction {id} has a message from the fence, but its payload was not set; rolled back"
    )]
    PayloadMissing {
        /// The transaction.
        id: Uuid,
    },

    /// The application's part passed over a failed statement after which the database had
    /// rolled the local transaction back (PostgreSQL does so after any error, MySQL after a
    /// deadlock). The messages are dropped. On MySQL the statements after the failed one may
    /// have been committed by themselves.
    #[error(
        "transaction {id} was rolled back by the database when a statement failed, and the application went on"
    )]
    LostFence {
        /// The transaction.
        id: Uuid,
    },

    /// The local transaction could not be begun or committed, and has certainly not
    /// committed. The messages are dropped.
    #[error("the database failed, rolled back: {0}")]
    Database(#[source] sqlx::Error),

    /// The connection was lost while the local transaction committed, so nobody here knows
    /// whether it did. A check-back finds out; the messages follow the database either way.
    #[error(
        "nobody knows yet whether transaction {id} committed, a check-back will find out: {source}"
    )]
    OutcomeUnknown {
        /// The transaction.
        id: Uuid,
        /// What the database driver said.
        source: sqlx::Error,
    },
}

impl Error {
    /// The application's own error, when it was of type `E`.
    ///
    /// ```
    /// use outrigger_sdk::transaction::Error;
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("{sku} is sold out")]
    /// struct SoldOut { sku: String }
    ///
    /// let error = Error::Aborted(SoldOut { sku: "ship".to_owned() }.into());
    /// assert_eq!(error.aborted_with::<SoldOut>().map(|e| e.sku.as_str()), Some("ship"));
    /// ```
    pub fn aborted_with<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Aborted(abort) => abort.downcast_ref(),
            _ => None,
        }
    }

    /// Whether nothing happened and the same work may be tried as a new transaction.
    /// [`Error::Aborted`] says no: only the application can know.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Prepare(error) => error.is_retryable(),
            Self::DecidedByCheckBack { .. } | Self::Database(_) => true,
            Self::Aborted(_)
            | Self::PayloadMissing { .. }
            | Self::LostFence { .. }
            | Self::OutcomeUnknown { .. } => false,
        }
    }
}

impl From<fence::Error> for Error {
    fn from(error: fence::Error) -> Self {
        match error {
            fence::Error::DecidedByCheckBack { id } => Self::DecidedByCheckBack { id },
            fence::Error::Lost { id } => Self::LostFence { id },
            fence::Error::Database(error) => Self::Database(error),
            // Only reading a decision can meet one that is unknown.
            error @ fence::Error::UnknownDecision { .. } => Self::Aborted(error.into()),
        }
    }
}
