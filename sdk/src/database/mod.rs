//! What differs between the databases.

pub(crate) mod barrier;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;

use std::future::Future;

use sqlx::{Pool, Transaction};
use uuid::Uuid;

/// A database that can hold the fence, the inbox and the barrier: [`sqlx::Postgres`] with the
/// feature `postgres`, [`sqlx::MySql`] (MySQL from 8.0.13, MariaDB from 10.6) with the feature
/// `mysql`, [`sqlx::Sqlite`] with the feature `sqlite`.
pub trait LocalDatabase: sqlx::Database + sealed::Dialect {}

/// A row of the fence: the decision and the payload.
pub(crate) type FenceRow = (String, Option<Vec<u8>>);

/// Begins a transaction, in a task of its own: whoever is dropped while it begins leaves none
/// open. Otherwise sqlx 0.9.0 gives a connection to PostgreSQL back to its pool in the middle of
/// a transaction (<https://github.com/transact-rs/sqlx/issues/4385>): what runs on it next sees an
/// old state, and is not committed.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
async fn begin<DB: sqlx::Database>(
    pool: &Pool<DB>,
    statement: Option<&'static str>,
) -> Result<Transaction<'static, DB>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move {
        match statement {
            Some(statement) => pool.begin_with(statement).await,
            None => pool.begin().await,
        }
    });
    // It is neither cancelled nor does it panic.
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

pub(crate) mod sealed {
    use super::{FenceRow, Future, Pool, Transaction, Uuid, barrier::BarrierDialect};

    /// The statements, each in the dialect of its database.
    #[expect(private_bounds, reason = "nobody outside implements it")]
    pub trait Dialect: sqlx::Database + BarrierDialect {
        /// Begins a transaction that will write.
        fn begin(
            pool: &Pool<Self>,
        ) -> impl Future<Output = Result<Transaction<'static, Self>, sqlx::Error>> + Send;

        /// Plain insert of the decision `commit`; a duplicate key is a unique violation.
        fn insert_commit(
            connection: &mut Self::Connection,
            id: Uuid,
            producer_group: &str,
        ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

        /// Writes the payload into the transaction's own fence row.
        fn write_payload(
            connection: &mut Self::Connection,
            id: Uuid,
            payload: &[u8],
        ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

        /// Whether the transaction still has the fence row that it has inserted.
        fn holds_fence(
            connection: &mut Self::Connection,
            id: Uuid,
        ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

        /// Inserts the decision `rollback` unless there is one, and returns what is there
        /// now for good.
        fn decide(
            pool: &Pool<Self>,
            id: Uuid,
            producer_group: &str,
        ) -> impl Future<Output = Result<FenceRow, sqlx::Error>> + Send;

        /// True when the message was not in the inbox yet.
        fn insert_inbox(
            connection: &mut Self::Connection,
            consumer: &str,
            message_id: &str,
        ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

        /// Whether the transaction still has the inbox row that it has inserted.
        fn holds_inbox(
            connection: &mut Self::Connection,
            consumer: &str,
            message_id: &str,
        ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

        /// Whether a failed COMMIT has certainly not committed.
        fn is_certainly_not_committed(error: &sqlx::Error) -> bool;
    }
}
