//! The fence: one row in the application's own database that decides commit or rollback,
//! once and for ever.
//!
//! The application's local transaction begins by inserting the row with `commit`; the
//! check inserts it with `rollback`. The primary key lets one of them win:
//!
//! - The check's insert succeeds: the transaction had not committed, and cannot any more,
//!   because its own insert fails from now on. Definitely rolled back.
//! - The row is there: its decision is the answer.
//! - The row is held by a transaction that is still running: nothing is known yet.
//!
//! Reading the row and taking its absence for a rollback would be wrong: a transaction
//! that is still running is not visible either, and may yet commit.
//!
//! The decision has to survive whatever the database survives, so checks wait for the
//! database's own durable commit even where the application's default is weaker. The
//! application must do the same in its local transactions: a commit that the database
//! forgets in a power failure was told to the consumers nevertheless.
//!
//! Rows are kept for days and deleted when nobody can ask about them any more; see
//! [`collect`](super::collect).

mod fake;
mod postgres;
mod rows;
mod sqlite;

use std::sync::Arc;

use futures::future::BoxFuture;
use uuid::Uuid;

use super::Answer;
pub use fake::{FakeFence, FakeTransaction, Taken};
pub use postgres::{PostgresFence, PostgresOptions};
pub use rows::{FenceRows, FenceStore, OldRows, store_for_url};
pub use sqlite::{SqliteFence, SqliteOptions};

/// Asks one database how local transactions ended.
///
/// A check may be made again at any time and by anybody at once: the first decision
/// stands. A dropped check may or may not have decided.
pub trait FenceChecker: Send + Sync + 'static {
    /// Decides the transaction as rolled back unless its row says otherwise.
    fn check<'a>(&'a self, transaction_id: Uuid, producer_group: &'a str) -> BoxFuture<'a, Answer>;
}

/// A database URL that check-back cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not one of the supported databases.
    #[error("database is {scheme}:…; allowed: postgres:, postgresql: and sqlite:")]
    Scheme {
        /// What stands before the first colon.
        scheme: String,
    },
    /// The URL does not parse.
    #[error("database is not a usable {kind} URL: {message}")]
    Invalid {
        /// Which database.
        kind: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// The checker for a database URL: `postgres://…`, `postgresql://…` or `sqlite:FILE`.
///
/// Nothing is connected before the first check. Must be called within a tokio runtime.
pub fn for_url(url: &str) -> Result<Arc<dyn FenceChecker>, UrlError> {
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        "postgres" | "postgresql" => Ok(Arc::new(PostgresFence::new(PostgresOptions::new(url)?))),
        "sqlite" => Ok(Arc::new(SqliteFence::new(SqliteOptions::new(url)?))),
        scheme => Err(UrlError::Scheme {
            scheme: scheme.to_owned(),
        }),
    }
}
