use std::{collections::VecDeque, sync::Arc, time::Duration};

use outrigger_proto::v1;

use crate::{
    Client, Durability, Message,
    durability::chosen,
    publish::{self, Pending, SendReceipt},
    transaction::{Step, TransactionBuilder},
};

/// How long a caller waits for a Resolve before it goes on in the background.
const RESOLVE_WAIT_MS: u64 = 1_000;

/// Sends messages, plainly or bound to a local transaction. Cheap to clone.
///
/// Made by [`Client::producer`].
#[derive(Clone)]
pub struct Producer {
    client: Client,
    producer_group: Arc<str>,
    resolve_wait: Duration,
    durability: Option<Durability>,
    observer: Option<Observer>,
}

type Observer = Arc<dyn Fn(&Step) + Send + Sync>;

impl Producer {
    pub(crate) fn new(client: Client, producer_group: String) -> Self {
        Self {
            client,
            producer_group: producer_group.into(),
            resolve_wait: Duration::from_millis(RESOLVE_WAIT_MS),
            durability: None,
            observer: None,
        }
    }

    /// Calls `observer` at every step of every transaction, synchronously: for metrics, and
    /// for tests that want to fail between two steps.
    ///
    /// ```no_run
    /// # async fn example(client: outrigger_sdk::Client) {
    /// use outrigger_sdk::transaction::Step;
    ///
    /// let producer = client.producer("order-service").on_step(|step| match step {
    ///     Step::LocallyCommitted { id } => println!("{id} is committed in our database"),
    ///     _ => {}
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn on_step(mut self, observer: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How long the end of a transaction waits for its Resolve to be durable; default 1 s.
    ///
    /// The local transaction has ended by then, so the wait only makes it likelier that
    /// consumers have seen the message when the call returns. After this time, and at once
    /// when it is zero, the Resolve goes on in the background; when it is lost, a
    /// check-back finds out.
    #[must_use]
    pub fn resolve_wait(mut self, wait: Duration) -> Self {
        self.resolve_wait = wait;
        self
    }

    /// When the plain sends of this producer are answered, unless a message says otherwise;
    /// by default the topic says. Transactions are not concerned.
    ///
    /// ```no_run
    /// # async fn example(client: outrigger_sdk::Client) -> Result<(), outrigger_sdk::publish::Error> {
    /// use outrigger_sdk::{Durability, Message};
    ///
    /// let metrics = client.producer("metrics").durability(Durability::Accepted);
    /// let receipt = metrics.send(Message::new("cpu", "0.7")).await?;
    /// assert!(receipt.durability >= Durability::Accepted);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The producer group.
    pub fn producer_group(&self) -> &str {
        &self.producer_group
    }

    /// Sends one message and waits until it is durable, or has reached the lower level
    /// that was chosen for it; see [`Durability`].
    ///
    /// Concurrent calls share batches by themselves. When a connection breaks the message
    /// is repeated but stored once.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, publish::Error> {
        self.send_nowait(message).await?.await
    }

    /// Waits only until there is room in flight, and returns the answer to come. So one
    /// task can keep many messages in flight, in order.
    ///
    /// ```no_run
    /// # use outrigger_sdk::{Message, Producer, publish};
    /// # async fn example(producer: Producer) -> Result<(), publish::Error> {
    /// let first = producer.send_nowait(Message::new("audit", "1")).await?;
    /// let second = producer.send_nowait(Message::new("audit", "2")).await?;
    /// first.await?;
    /// second.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_nowait(
        &self,
        message: Message,
    ) -> Result<Pending<SendReceipt>, publish::Error> {
        let durability = self.durability_of(&message);
        let publisher = self.client.publisher();
        publisher.send(message.into_wire(), durability).await
    }

    /// As [`Producer::send_nowait`], but fails with [`publish::Error::Full`] instead of
    /// waiting for room.
    pub fn try_send(&self, message: Message) -> Result<Pending<SendReceipt>, publish::Error> {
        let durability = self.durability_of(&message);
        let publisher = self.client.publisher();
        publisher.try_send(message.into_wire(), durability)
    }

    /// Sends many messages in order, and waits until all of them are durable. The answers
    /// are in the order of the messages.
    ///
    /// ```no_run
    /// # use outrigger_sdk::{Message, Producer, publish};
    /// # async fn example(producer: Producer) -> Result<(), publish::Error> {
    /// let messages = (0..10_000).map(|n| Message::new("audit", n.to_string()));
    /// for receipt in producer.send_all(messages).await {
    ///     receipt?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_all<I>(&self, messages: I) -> Vec<Result<SendReceipt, publish::Error>>
    where
        I: IntoIterator<Item = Message>,
    {
        let mut under_way = VecDeque::new();
        for message in messages {
            under_way.push_back(self.send_nowait(message).await);
        }
        let mut receipts = Vec::with_capacity(under_way.len());
        for pending in under_way {
            receipts.push(match pending {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            });
        }
        receipts
    }

    /// Begins a transaction: messages that are delivered if and only if a local database
    /// transaction commits. See [`transaction`](crate::transaction).
    pub fn transaction(&self) -> TransactionBuilder {
        TransactionBuilder::new(self.clone())
    }

    fn durability_of(&self, message: &Message) -> v1::Durability {
        chosen(message.chosen_durability().or(self.durability))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn resolve_wait_limit(&self) -> Duration {
        self.resolve_wait
    }

    pub(crate) fn observe(&self, step: &Step) {
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("producer_group", &self.producer_group)
            .finish_non_exhaustive()
    }
}
