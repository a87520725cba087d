use std::time::Duration;

use bytes::Bytes;
use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use outrigger_core::{lease::Progress, name};
use outrigger_log::{
    Command, ConsumerGroup, ConsumerGroupConfig, ConsumerGroupId, IndexEntry, Log, Outcome,
    StartFrom, SubmitError, Topic, TopicId,
};
use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tonic::Code;

use super::{GroupInfo, NotRecorded, Options, Store, TopicInfo};
use crate::edge::{Topics, status::Failure};

/// Without an answer from a majority for so long, this node does not know whether it leads.
const CONFIRM_MS_MAX: u64 = 2_000;

/// The log of this node.
pub(super) struct LogStore {
    log: Log,
    topics: Topics,
    auto_create: bool,
    group_default: ConsumerGroupConfig,
}

impl LogStore {
    pub(super) fn new(log: Log, options: &Options) -> Self {
        Self {
            topics: Topics::new(
                log.clone(),
                options.auto_create,
                options.queues_default,
                options.durability_default,
                // What consumers ask for has been brought to where it lies.
                None,
            ),
            log,
            auto_create: options.auto_create,
            group_default: ConsumerGroupConfig {
                start_from: StartFrom::First,
                max_attempts: options.max_attempts,
                retry_delays_ms: options.retry_delays_ms.clone(),
            },
        }
    }

    async fn make_group(&self, name: &str) -> Result<GroupInfo, Failure> {
        name::check_group("consumer_group", name)?;
        if !self.auto_create {
            let message =
                format!("consumer group \"{name}\" does not exist, and auto_create is off");
            let failure = Failure::new(Code::NotFound, "CONSUMER_GROUP_NOT_FOUND", message);
            return Err(failure.with("field", "consumer_group").with("value", name));
        }
        let command = Command::CreateConsumerGroup {
            name: name.to_owned(),
            config: self.group_default.clone(),
        };
        let mut outcomes = self.log.submit(vec![command])?.await?;
        if let Some(Outcome::Refused(refusal)) = outcomes.pop() {
            return Err(refusal.into());
        }
        self.group(name).ok_or_else(vanished)
    }
}

impl Store for LogStore {
    fn term(&self) -> u64 {
        self.log.status().term
    }

    fn ensure_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Failure>> {
        let ensured = self.topics.ensure(name);
        ensured
            .map(|id| self.topic(id?).ok_or_else(vanished))
            .boxed()
    }

    fn ensure_group<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<GroupInfo, Failure>> {
        match self.group(name) {
            Some(group) => ready(Ok(group)).boxed(),
            None => self.make_group(name).boxed(),
        }
    }

    fn group(&self, name: &str) -> Option<GroupInfo> {
        Some(group_info(&*self.log.consumer_group(name)?))
    }

    fn topic(&self, id: TopicId) -> Option<TopicInfo> {
        Some(topic_info(&*self.log.topic_by_id(id)?))
    }

    fn bounds(&self, topic: TopicId, queue: u32) -> (u64, u64) {
        self.log.queue_bounds(topic, queue)
    }

    fn progress(&self, group: ConsumerGroupId, topic: TopicId, queue: u32) -> Progress {
        self.log.progress(group, topic, queue)
    }

    fn index(
        &self,
        topic: TopicId,
        queue: u32,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Failure> {
        let read = self.log.index(topic, queue, from, max, out);
        read.map_err(|error| unreadable(&error))
    }

    fn read(&self, entries: Vec<IndexEntry>) -> BoxFuture<'_, Result<Vec<Bytes>, Failure>> {
        let log = self.log.clone();
        let reading = spawn_blocking(move || log.read(&entries));
        let read = |joined: Result<_, _>| match joined {
            Ok(read) => Result::map_err(read, |error| unreadable(&error)),
            Err(error) => Err(unreadable(&error)),
        };
        reading.map(read).boxed()
    }

    fn watch(&self, topic: TopicId) -> Option<watch::Receiver<u64>> {
        self.log.watch_topic(topic)
    }

    fn has_lease(&self) -> bool {
        self.log.has_lease()
    }

    fn confirm(&self) -> BoxFuture<'static, bool> {
        let log = self.log.clone();
        async move {
            let limit = Duration::from_millis(CONFIRM_MS_MAX);
            matches!(timeout(limit, log.confirm_leadership()).await, Ok(Ok(())))
        }
        .boxed()
    }

    fn record(
        &self,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, NotRecorded>> {
        match self.log.submit(commands) {
            Ok(pending) => pending.map(|result| result.map_err(not_recorded)).boxed(),
            Err(error) => ready(Err(not_recorded(error))).boxed(),
        }
    }
}

fn topic_info(topic: &Topic) -> TopicInfo {
    TopicInfo {
        id: topic.id,
        queues: topic.queues,
    }
}

fn group_info(group: &ConsumerGroup) -> GroupInfo {
    GroupInfo {
        id: group.id,
        max_attempts: group.config.max_attempts,
        retry_delays_ms: group.config.retry_delays_ms.as_slice().into(),
    }
}

fn vanished() -> Failure {
    let message = "it was created, and is not there";
    Failure::new(Code::Internal, "UNEXPECTED_OUTCOME", message)
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::DataLoss, "LOG_UNREADABLE", error.to_string())
}

fn not_recorded(error: SubmitError) -> NotRecorded {
    NotRecorded {
        try_again: matches!(error, SubmitError::Overloaded { .. }),
        failure: error.into(),
    }
}
