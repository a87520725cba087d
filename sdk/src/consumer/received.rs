use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use outrigger_proto::v1;
use sqlx::Pool;

use crate::{
    database::LocalDatabase,
    inbox::{self, Effect, EffectTransaction},
    transaction::Abort,
};

/// A message as a handler gets it.
#[derive(Debug, Clone)]
pub struct Received {
    message: v1::Message,
    consumer_group: Arc<str>,
    queue: u32,
    offset: u64,
    attempt: u32,
    stored_at_ms: u64,
    fencing: Option<u64>,
}

impl Received {
    /// Takes a delivery apart into the message and the receipt of its lease.
    pub(super) fn new(delivery: v1::Delivery, consumer_group: &Arc<str>) -> (Self, Bytes) {
        let received = Self {
            message: delivery.message.unwrap_or_default(),
            consumer_group: Arc::clone(consumer_group),
            queue: delivery.queue,
            offset: delivery.offset,
            attempt: delivery.attempt,
            stored_at_ms: delivery.stored_at_ms,
            fencing: None,
        };
        (received, delivery.receipt)
    }

    pub(super) fn set_fencing(&mut self, fencing: u64) {
        self.fencing = Some(fencing);
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// The sender's id for the message, by which guards and the inbox recognise it.
    pub fn id(&self) -> &str {
        &self.message.message_id
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// The tag; empty when there is none.
    pub fn tag(&self) -> &str {
        &self.message.tag
    }

    /// The business keys.
    pub fn keys(&self) -> &[String] {
        &self.message.keys
    }

    /// The properties.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.message.properties
    }

    /// The FIFO key; empty when there is none.
    pub fn message_group(&self) -> &str {
        &self.message.message_group
    }

    /// When the sender made it, in milliseconds since the Unix epoch.
    pub fn born_at_ms(&self) -> u64 {
        self.message.born_at_ms
    }

    /// When it became visible, in milliseconds since the Unix epoch.
    pub fn stored_at_ms(&self) -> u64 {
        self.stored_at_ms
    }

    /// The queue of the topic it came from.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Its place in that queue.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Which delivery this is; 1 is the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The consumer group that received it.
    pub fn consumer_group(&self) -> &str {
        &self.consumer_group
    }

    /// With [`Guard::record`](super::Guard::record) or
    /// [`Guard::set_nx`](super::Guard::set_nx): the fencing number, for whatever the effect
    /// writes to.
    pub fn fencing(&self) -> Option<u64> {
        self.fencing
    }

    /// Runs `effect` in a local transaction whose first statement puts the message into the
    /// inbox of this consumer group, so that it happens once however often the message
    /// arrives. See [`inbox`](crate::inbox).
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # async fn example(client: outrigger_sdk::Client, pool: sqlx::SqlitePool)
    /// #     -> Result<(), outrigger_sdk::consumer::Error> {
    /// client
    ///     .consumer("stock-service")
    ///     .subscribe("orders", "*")
    ///     .run(move |message| {
    ///         let pool = pool.clone();
    ///         async move {
    ///             message
    ///                 .once(&pool, async |tx| {
    ///                     sqlx::query("UPDATE stock SET left = left - 1")
    ///                         .execute(&mut **tx)
    ///                         .await?;
    ///                     Ok(())
    ///                 })
    ///                 .await?;
    ///             Ok(())
    ///         }
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn once<DB, F, T>(
        &self,
        pool: &Pool<DB>,
        effect: F,
    ) -> Result<Effect<T>, inbox::Error>
    where
        DB: LocalDatabase,
        F: AsyncFnOnce(&mut EffectTransaction<DB>) -> Result<T, Abort>,
    {
        inbox::once(pool, &self.consumer_group, self.id(), effect).await
    }
}
