use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use outrigger_log::{ConsumerGroupId, Log, TopicId};
use tokio::sync::{oneshot, watch};
use tonic::Code;

use super::{
    Filter, GroupInfo, Options, Settle, Store, TopicInfo,
    log_store::LogStore,
    registry::Registry,
    ticket::{Asker, Settled},
    worker::Worker,
};
use crate::edge::status::Failure;

/// Delivers messages to consumers; cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) store: Arc<dyn Store>,
    pub(super) options: Arc<Options>,
    pub(super) registry: Registry,
    draining: Arc<watch::Sender<Option<Failure>>>,
    next_member: Arc<AtomicU64>,
}

/// A topic that a consumer wants, and what of it.
pub(crate) struct Wanted {
    pub(crate) topic: TopicInfo,
    pub(crate) filter: Arc<Filter>,
}

impl Service {
    /// Over the log of this node.
    #[must_use]
    pub fn new(log: Log, options: Options) -> Self {
        Self::over(LogStore::new(log, &options), options)
    }

    pub(super) fn over(store: impl Store, options: Options) -> Self {
        let store: Arc<dyn Store> = Arc::new(store);
        Self {
            registry: Registry::new(Arc::clone(&store), options.clone()),
            store,
            options: Arc::new(options),
            draining: Arc::new(watch::Sender::new(None)),
            next_member: Arc::default(),
        }
    }

    /// Delivers nothing more: long polls return, and streams end with this failure when what
    /// they asked for is answered.
    pub fn drain(&self, why: Failure) {
        self.draining.send_replace(Some(why));
    }

    /// The topics that a consumer group is receiving from now.
    pub(crate) fn topics_of(&self, group: ConsumerGroupId) -> Vec<TopicId> {
        self.registry.topics_of(group)
    }

    /// Lease time of consumers that do not say.
    pub(crate) fn invisible_ms(&self) -> u64 {
        self.options.invisible_ms
    }

    /// Ends when the service drains, with the reason.
    pub(super) fn drained(&self) -> impl Future<Output = Failure> + Send + 'static {
        let mut draining = self.draining.subscribe();
        async move {
            // The sender lives as long as the service.
            let drained = draining.wait_for(Option::is_some).await;
            let why = drained.ok().and_then(|why| why.clone());
            why.unwrap_or_else(shutting_down)
        }
    }

    pub(super) fn next_member(&self) -> u64 {
        self.next_member.fetch_add(1, Ordering::Relaxed)
    }

    /// The consumer group and the topics of a subscription, made now where that is allowed.
    pub(crate) async fn resolve(
        &self,
        group: &str,
        subscriptions: Vec<(String, Filter)>,
    ) -> Result<(GroupInfo, Vec<Wanted>), Failure> {
        let group = self.store.ensure_group(group).await?;
        let mut wanted = Vec::with_capacity(subscriptions.len());
        for (topic, filter) in subscriptions {
            let topic = self.store.ensure_topic(&topic).await?;
            let filter = Arc::new(filter);
            wanted.push(Wanted { topic, filter });
        }
        Ok((group, wanted))
    }

    /// The worker of a topic that exists.
    pub(super) fn worker_of(&self, group: &GroupInfo, topic: TopicId) -> Option<Arc<Worker>> {
        let topic = self.store.topic(topic)?;
        Some(self.registry.worker(group, &topic))
    }

    /// Settles leases for a unary call; returns when all of it is durable.
    pub(crate) async fn settle(&self, group: &str, settle: Settle) -> Settled {
        let Some(group) = self.store.group(group) else {
            return Err(Failure::new(
                Code::NotFound,
                "CONSUMER_GROUP_NOT_FOUND",
                format!("consumer group \"{group}\" does not exist"),
            )
            .with("field", "consumer_group")
            .with("value", group));
        };
        let (asker, settled) = oneshot::channel();
        self.route(&group, &[], settle, Asker::Call(asker)).await;
        settled.await.unwrap_or_else(|_| Err(shutting_down()))
    }
}

/// This node does not lead, or cannot know whether it does.
pub(crate) fn not_leading() -> Failure {
    Failure::new(
        Code::Unavailable,
        "NOT_LEADER",
        "this node does not lead any more; reconnect",
    )
}

pub(crate) fn shutting_down() -> Failure {
    Failure::new(
        Code::Unavailable,
        "SHUTTING_DOWN",
        "this sidecar is shutting down; reconnect",
    )
}

pub(super) fn conflict(topic: TopicId, group: &GroupInfo) -> Failure {
    Failure::new(
        Code::FailedPrecondition,
        "SUBSCRIPTION_CONFLICT",
        "another consumer of this group has another filter for this topic",
    )
    .with("field", "subscriptions")
    .with("topic_id", topic.0)
    .with("consumer_group_id", group.id.0)
}
