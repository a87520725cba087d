use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use sqlx::{Pool, Transaction};
use uuid::Uuid;

use crate::{database::LocalDatabase, fence};

/// The local transaction, as the application's part sees it: it stands for the database
/// connection, so statements run on `&mut **tx`.
pub struct LocalTransaction<DB: LocalDatabase> {
    id: Uuid,
    transaction: Transaction<'static, DB>,
    payload: Option<Bytes>,
}

impl<DB: LocalDatabase> LocalTransaction<DB> {
    /// Begins the transaction and puts up the fence.
    pub(super) async fn begin(
        pool: &Pool<DB>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<Self, fence::Error> {
        let mut transaction = DB::begin(pool).await?;
        fence::insert::<DB>(&mut transaction, id, producer_group).await?;
        Ok(Self {
            id,
            transaction,
            payload: None,
        })
    }

    /// The id of the transaction, which is also that of its fence row.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Sets the body of the messages that were made with
    /// [`Message::from_fence`](crate::Message::from_fence): for what is only known inside
    /// the transaction, such as a generated key. It is written into the fence row before
    /// the commit, so it is there for a check-back too. The last call counts.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # async fn example(
    /// #     producer: outrigger_sdk::Producer,
    /// #     pool: sqlx::SqlitePool,
    /// # ) -> Result<(), outrigger_sdk::transaction::Error> {
    /// use outrigger_sdk::Message;
    ///
    /// let id = producer
    ///     .transaction()
    ///     .message(Message::from_fence("orders"))
    ///     .run(&pool, async |tx| {
    ///         let id: i64 = sqlx::query_scalar("INSERT INTO orders DEFAULT VALUES RETURNING id")
    ///             .fetch_one(&mut **tx)
    ///             .await?;
    ///         tx.set_payload(format!(r#"{{"order":{id}}}"#));
    ///         Ok(id)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) {
        self.payload = Some(payload.into());
    }

    pub(super) fn has_payload(&self) -> bool {
        self.payload.is_some()
    }

    /// Writes the payload, and makes sure that there is something to commit.
    pub(super) async fn finish(&mut self) -> Result<(), fence::Error> {
        if let Some(payload) = &self.payload {
            fence::set_payload::<DB>(&mut self.transaction, self.id, payload).await?;
        }
        fence::check::<DB>(&mut self.transaction, self.id).await
    }

    /// Commits, and returns the payload for Resolve.
    pub(super) async fn commit(self) -> Result<Option<Bytes>, sqlx::Error> {
        self.transaction.commit().await?;
        Ok(self.payload)
    }

    pub(super) async fn rollback(self) {
        // When this fails the connection is gone, and the transaction with it.
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(id = %self.id, %error, "the rollback was not confirmed");
        }
    }
}

impl<DB: LocalDatabase> Deref for LocalTransaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl<DB: LocalDatabase> DerefMut for LocalTransaction<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}
