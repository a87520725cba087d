//! Messages bound to a local database transaction: delivered if and only if it commits.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn example(
//! #     client: outrigger_sdk::Client,
//! #     pool: sqlx::SqlitePool,
//! # ) -> Result<(), outrigger_sdk::transaction::Error> {
//! use outrigger_sdk::Message;
//!
//! let producer = client.producer("order-service");
//! let order = 17_i64;
//! producer
//!     .transaction()
//!     .message(Message::new("orders", order.to_string()).tag("created").key("order-17"))
//!     .run(&pool, async |tx| {
//!         sqlx::query("INSERT INTO orders (id) VALUES (?1)")
//!             .bind(order)
//!             .execute(&mut **tx)
//!             .await?;
//!         Ok(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! What happens, in this order:
//!
//! 1. **Prepare**: the messages are stored durably, invisible to consumers.
//! 2. The local transaction begins, and puts up the [fence](crate::fence).
//! 3. The application's statements run, and the local transaction commits.
//! 4. **Resolve**: the messages become visible.
//!
//! Whoever dies in between loses nothing: the sidecar asks the fence how the local
//! transaction ended (check-back) and does what step 4 would have done. So an error of
//! step 4 is not reported at all, and a caller may stop waiting for it
//! ([`Producer::resolve_wait`]).

mod error;
mod local;
mod prepared;

use outrigger_proto::v1;
use sqlx::Pool;
use uuid::Uuid;

pub use error::{Abort, Error};
pub use local::LocalTransaction;
pub use prepared::Prepared;

use crate::{Message, Producer, Verdict, database::LocalDatabase, durability::chosen, publish};

/// What [`Producer::on_step`] is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The messages are durable, and invisible.
    Prepared {
        /// The transaction.
        id: Uuid,
    },
    /// The local transaction has committed; the sidecar has not been told yet.
    LocallyCommitted {
        /// The transaction.
        id: Uuid,
    },
    /// The sidecar has been told and has recorded it durably.
    Resolved {
        /// The transaction.
        id: Uuid,
        /// How it ended.
        verdict: Verdict,
    },
}

/// A transaction that is being put together. Made by [`Producer::transaction`].
#[derive(Debug)]
#[must_use = "nothing happens before `run` or `prepare`"]
pub struct TransactionBuilder {
    producer: Producer,
    messages: Vec<Message>,
}

impl TransactionBuilder {
    pub(crate) fn new(producer: Producer) -> Self {
        Self {
            producer,
            messages: Vec::new(),
        }
    }

    /// Adds a message; at most 4,096, to any topics.
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds several messages.
    pub fn messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// Stores the messages durably, invisible until the transaction is resolved. The two-step
    /// way; most applications want [`TransactionBuilder::run`].
    pub async fn prepare(self) -> Result<Prepared, publish::Error> {
        let id = crate::message::new_id();
        let durability = self.messages.iter().filter_map(Message::chosen_durability);
        let durability = chosen(durability.min());
        let request = v1::PrepareRequest {
            transaction_id: id.to_string(),
            producer_group: self.producer.producer_group().to_owned(),
            messages: self.messages.into_iter().map(Message::into_wire).collect(),
        };
        self.producer
            .client()
            .publisher()
            .prepare(request, durability)
            .await?
            .await?;
        self.producer.observe(&Step::Prepared { id });
        Ok(Prepared::new(self.producer, id))
    }

    /// Runs `work` in a local transaction of `pool`, and delivers the messages if and only
    /// if that transaction commits. Returns what `work` returns.
    ///
    /// An error of `work` rolls the local transaction back and drops the messages. Keep
    /// `work` short: after a second (the first check-back) a transaction that has not put up
    /// its fence yet is rolled back, and one that has is waited for.
    pub async fn run<DB, F, T>(self, pool: &Pool<DB>, work: F) -> Result<T, Error>
    where
        DB: LocalDatabase,
        F: AsyncFnOnce(&mut LocalTransaction<DB>) -> Result<T, Abort>,
    {
        let producer = self.producer.clone();
        let needs_payload = self.messages.iter().any(Message::is_from_fence);
        let prepared = self.prepare().await.map_err(Error::Prepare)?;
        let id = prepared.id();

        let begun = LocalTransaction::begin(pool, id, producer.producer_group()).await;
        let mut local = match begun {
            Ok(local) => local,
            Err(error) => {
                // COMMIT was never called, so it can not have committed.
                prepared.settle(Verdict::Rollback, None).await;
                return Err(error.into());
            }
        };
        let worked = work(&mut local).await;
        let ready = match worked {
            Ok(_) if needs_payload && !local.has_payload() => Err(Error::PayloadMissing { id }),
            Ok(value) => match local.finish().await {
                Ok(()) => Ok(value),
                Err(error) => Err(error.into()),
            },
            Err(abort) => Err(Error::Aborted(abort)),
        };
        let value = match ready {
            Ok(value) => value,
            Err(error) => {
                local.rollback().await;
                prepared.settle(Verdict::Rollback, None).await;
                return Err(error);
            }
        };
        match local.commit().await {
            Ok(payload) => {
                producer.observe(&Step::LocallyCommitted { id });
                prepared.settle(Verdict::Commit, payload).await;
                Ok(value)
            }
            Err(error) if DB::is_certainly_not_committed(&error) => {
                prepared.settle(Verdict::Rollback, None).await;
                Err(Error::Database(error))
            }
            Err(source) => Err(Error::OutcomeUnknown { id, source }),
        }
    }
}
