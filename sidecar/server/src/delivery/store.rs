//! The log, as far as delivering needs it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_core::lease::Progress;
use outrigger_log::{
    IndexEntry,
    command::{Command, ConsumerGroupId, Outcome, TopicId},
};
use tokio::sync::watch;

use crate::edge::status::Failure;

/// A topic that can be consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicInfo {
    /// Its number.
    pub(crate) id: TopicId,
    /// How many queues it has.
    pub(crate) queues: u32,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupInfo {
    /// Its number.
    pub(crate) id: ConsumerGroupId,
    /// Deliveries before a message becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// Waits before the second, third, ... delivery; the last one repeats.
    pub(crate) retry_delays_ms: Arc<[u64]>,
}

/// The log did not record what it was given, or nobody knows whether it did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NotRecorded {
    /// For the consumer.
    pub(crate) failure: Failure,
    /// Nothing was taken, and the same may be taken in a moment.
    pub(crate) try_again: bool,
}

/// The log, as far as delivering needs it.
pub(crate) trait Store: Send + Sync + 'static {
    /// The term of the leader, for receipts.
    fn term(&self) -> u64;

    /// A topic, made now if it does not exist and that is allowed.
    fn ensure_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Failure>>;

    /// A consumer group, made now if it does not exist and that is allowed.
    fn ensure_group<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<GroupInfo, Failure>>;

    /// A consumer group that exists.
    fn group(&self, name: &str) -> Option<GroupInfo>;

    /// A topic that exists.
    fn topic(&self, id: TopicId) -> Option<TopicInfo>;

    /// The oldest offset of a queue and the next one.
    fn bounds(&self, topic: TopicId, queue: u32) -> (u64, u64);

    /// What is recorded of a consumer group's progress in a queue.
    fn progress(&self, group: ConsumerGroupId, topic: TopicId, queue: u32) -> Progress;

    /// Appends at most `max` places of a queue to `out`.
    fn index(
        &self,
        topic: TopicId,
        queue: u32,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Failure>;

    /// The stored bytes of messages.
    fn read(&self, entries: Vec<IndexEntry>) -> BoxFuture<'_, Result<Vec<Bytes>, Failure>>;

    /// Changes whenever messages became visible in a topic.
    fn watch(&self, topic: TopicId) -> Option<watch::Receiver<u64>>;

    /// True while nobody else can lead, so that what is read here is the newest there is.
    fn has_lease(&self) -> bool;

    /// Makes sure that this node leads, by asking the others; false when it does not, or
    /// cannot know.
    fn confirm(&self) -> BoxFuture<'static, bool>;

    /// Records commands; they are taken, in order, before this returns. Done when durable.
    fn record(
        &self,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, NotRecorded>>;
}
