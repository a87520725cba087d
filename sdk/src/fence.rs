//! The fence: the row of `outrigger_transaction` that decides, once and for ever, whether
//! a local transaction committed.
//!
//! The local transaction inserts `commit` as its first statement. A check-back inserts
//! `rollback` unless there is a row. The primary key lets only one of them win, so a
//! check-back never has to guess whether a transaction is still running: it waits for it,
//! or it wins, and then the transaction cannot commit any more.
//!
//! [`TransactionBuilder::run`](crate::transaction::TransactionBuilder::run) does all of
//! this by itself. The functions here are for those who run their local transaction
//! themselves. The tables come from [`migrations`](crate::migrations).
//!
//! # SQLite
//!
//! Use WAL mode, a busy timeout, and `BEGIN IMMEDIATE` for transactions that write: a
//! deferred transaction that has read before it writes is refused at once with
//! `SQLITE_BUSY` when another one has written in between, however long the busy timeout.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{str::FromStr, time::Duration};
//! use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool};
//!
//! # let dir = tempfile::tempdir()?;
//! # let url = format!("sqlite://{}/orders.db", dir.path().display());
//! let options = SqliteConnectOptions::from_str(&url)?
//!     .create_if_missing(true)
//!     .journal_mode(SqliteJournalMode::Wal)
//!     .busy_timeout(Duration::from_secs(5));
//! let pool = SqlitePool::connect_with(options).await?;
//! let tx = pool.begin_with("BEGIN IMMEDIATE").await?;
//! # drop(tx);
//! # Ok(())
//! # }
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```

use bytes::Bytes;
use sqlx::Pool;
use uuid::Uuid;

use crate::{Verdict, database::LocalDatabase};

/// Why the fence could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A check-back was first and has decided on rollback: the local transaction must not
    /// commit.
    #[error("transaction {id} was rolled back by a check-back before it began")]
    DecidedByCheckBack {
        /// The transaction.
        id: Uuid,
    },
    /// The local transaction is not there any more: the database has rolled it back when an
    /// earlier statement failed, and whoever ran that statement went on.
    #[error(
        "transaction {id} has lost its fence: the database rolled it back when an earlier statement failed"
    )]
    Lost {
        /// The transaction.
        id: Uuid,
    },
    /// The row holds neither `commit` nor `rollback`.
    #[error("the fence of transaction {id} holds the unknown decision {decision:?}")]
    UnknownDecision {
        /// The transaction.
        id: Uuid,
        /// What it holds.
        decision: String,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// What the fence holds, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// [`Verdict::Commit`] or [`Verdict::Rollback`].
    pub verdict: Verdict,
    /// The body that the local transaction wrote for its late messages.
    pub payload: Option<Bytes>,
}

/// Inserts the decision `commit` into the local transaction that `connection` is in. It has
/// to be that transaction's **first** statement.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")]
/// # async fn example(
/// #     producer: outrigger_sdk::Producer,
/// #     pool: sqlx::SqlitePool,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use outrigger_sdk::{Message, fence};
///
/// let prepared = producer.transaction().message(Message::new("orders", "17")).prepare().await?;
/// let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
/// fence::insert::<sqlx::Sqlite>(&mut tx, prepared.id(), prepared.producer_group()).await?;
/// sqlx::query("INSERT INTO orders (id) VALUES (17)").execute(&mut *tx).await?;
/// fence::check::<sqlx::Sqlite>(&mut tx, prepared.id()).await?;
/// tx.commit().await?;
/// prepared.commit().await?;
/// # Ok(())
/// # }
/// ```
pub async fn insert<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    id: Uuid,
    producer_group: &str,
) -> Result<(), Error> {
    match DB::insert_commit(connection, id, producer_group).await {
        Ok(()) => Ok(()),
        Err(error) if is_duplicate(&error) => Err(Error::DecidedByCheckBack { id }),
        Err(error) => Err(error.into()),
    }
}

/// Writes the body of the transaction's late messages
/// ([`Message::from_fence`](crate::Message::from_fence)) into its fence row, inside the
/// local transaction.
pub async fn set_payload<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    id: Uuid,
    payload: &[u8],
) -> Result<(), Error> {
    Ok(DB::write_payload(connection, id, payload).await?)
}

/// Makes sure that the local transaction is still the one that has put up its fence; to be
/// its **last** statement before COMMIT wherever an earlier error may have been passed over.
///
/// A database that has rolled a transaction back after an error answers OK to its COMMIT all
/// the same: PostgreSQL to any transaction in which a statement has failed, MySQL after a
/// deadlock, from where on it also commits every statement by itself. Whoever takes that for a
/// commit delivers the messages of a transaction that never was.
///
/// # Errors
///
/// [`Error::Lost`], or [`Error::Database`] when the database says so itself: roll back, and
/// resolve with [`Verdict::Rollback`].
pub async fn check<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    id: Uuid,
) -> Result<(), Error> {
    match DB::holds_fence(connection, id).await? {
        true => Ok(()),
        false => Err(Error::Lost { id }),
    }
}

/// Finds out how the local transaction `id` ended, and when it has not begun, ends it:
/// inserts `rollback` unless there is a decision, and returns the decision that is there.
///
/// This is what answers a check-back. An error means that nothing is known yet (the
/// transaction may be running and hold the row, or the database may be away): answer
/// [`Verdict::Unknown`] and be asked again. Use the primary, never a replica.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrigger_sdk::{Verdict, fence, migrations};
/// use sqlx::sqlite::SqlitePoolOptions;
///
/// // A database in memory belongs to its one connection.
/// let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// migrations::sqlite().run(&pool).await?;
/// let id = uuid::Uuid::from_u128(17);
/// let decision = fence::decide(&pool, id, "order-service").await?;
/// assert_eq!(decision.verdict, Verdict::Rollback);
///
/// // Too late for the local transaction now.
/// let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
/// let refused = fence::insert::<sqlx::Sqlite>(&mut tx, id, "order-service").await;
/// assert!(matches!(refused, Err(fence::Error::DecidedByCheckBack { .. })));
/// # Ok(())
/// # }
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub async fn decide<DB: LocalDatabase>(
    pool: &Pool<DB>,
    id: Uuid,
    producer_group: &str,
) -> Result<Decision, Error> {
    let (decision, payload) = DB::decide(pool, id, producer_group).await?;
    let verdict = match decision.as_str() {
        "commit" => Verdict::Commit,
        "rollback" => Verdict::Rollback,
        _ => return Err(Error::UnknownDecision { id, decision }),
    };
    Ok(Decision {
        verdict,
        payload: payload.map(Bytes::from),
    })
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation())
}
