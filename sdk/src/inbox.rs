//! The inbox: makes a consumer's effect happen once, however often its message arrives.
//!
//! The message's id is inserted into `outrigger_inbox` in the **same** local transaction as
//! the effect. When the row is there already, the effect has been committed before and is
//! skipped. Rows may be deleted when they are older than any redelivery can be.

use std::ops::{Deref, DerefMut};

use sqlx::Pool;

use crate::{database::LocalDatabase, transaction::Abort};

/// The local transaction of an effect: it stands for the database connection, so
/// statements run on `&mut **tx`.
pub struct EffectTransaction<DB: LocalDatabase>(pub(crate) sqlx::Transaction<'static, DB>);

impl<DB: LocalDatabase> Deref for EffectTransaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<DB: LocalDatabase> DerefMut for EffectTransaction<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What became of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<T> {
    /// It happened now, and returned this.
    Done(T),
    /// It had happened before; nothing was done.
    AlreadyDone,
}

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application's part failed; the local transaction was rolled back.
    #[error("rolled back: {0}")]
    Aborted(#[source] Abort),
    /// The application's part passed over a failed statement after which the database had
    /// rolled the local transaction back. On MySQL the statements after it may have been
    /// committed by themselves.
    #[error(
        "the inbox row of message {message_id} is gone: the database rolled back when a statement failed, and the application went on"
    )]
    Lost {
        /// The message.
        message_id: String,
    },
    /// The database failed. When the connection was lost during the commit the effect may
    /// have happened; the inbox row will tell when the message is delivered again.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Inserts the message into the inbox, inside the local transaction that `connection` is
/// in; to be done before the effect. False when it was there already: the effect has
/// happened.
pub async fn insert<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    consumer: &str,
    message_id: &str,
) -> Result<bool, sqlx::Error> {
    DB::insert_inbox(connection, consumer, message_id).await
}

/// Runs `effect` in a local transaction of its own unless the message `message_id` has been
/// through the inbox of `consumer` before.
///
/// [`Received::once`](crate::consumer::Received::once) is the same for a received message.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrigger_sdk::{inbox::{self, Effect}, migrations};
///
/// # let pool = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new().max_connections(1).connect("sqlite::memory:").await?;
/// migrations::sqlite().run(&pool).await?;
/// sqlx::query("CREATE TABLE stock (left INTEGER)").execute(&pool).await?;
/// sqlx::query("INSERT INTO stock VALUES (10)").execute(&pool).await?;
///
/// for expected in [Effect::Done(9), Effect::AlreadyDone] {
///     let effect = inbox::once(&pool, "stock-service", "message-1", async |tx| {
///         let left: i64 = sqlx::query_scalar("UPDATE stock SET left = left - 1 RETURNING left")
///             .fetch_one(&mut **tx)
///             .await?;
///         Ok(left)
///     })
///     .await?;
///     assert_eq!(effect, expected);
/// }
/// # Ok(())
/// # }
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub async fn once<DB, F, T>(
    pool: &Pool<DB>,
    consumer: &str,
    message_id: &str,
    effect: F,
) -> Result<Effect<T>, Error>
where
    DB: LocalDatabase,
    F: AsyncFnOnce(&mut EffectTransaction<DB>) -> Result<T, Abort>,
{
    let mut transaction = EffectTransaction(DB::begin(pool).await?);
    if !insert::<DB>(&mut transaction, consumer, message_id).await? {
        transaction.0.rollback().await?;
        return Ok(Effect::AlreadyDone);
    }
    match effect(&mut transaction).await {
        Ok(value) => {
            // The COMMIT of a transaction that is gone is answered with OK: see `fence::check`.
            if !DB::holds_inbox(&mut transaction, consumer, message_id).await? {
                return Err(Error::Lost {
                    message_id: message_id.to_owned(),
                });
            }
            transaction.0.commit().await?;
            Ok(Effect::Done(value))
        }
        Err(abort) => {
            // When this fails the connection is gone, and the transaction with it.
            let _ = transaction.0.rollback().await;
            Err(Error::Aborted(abort))
        }
    }
}
