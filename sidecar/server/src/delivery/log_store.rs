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
use tokio::{sync::watch, task::spawn_blocking};
use tonic::Code;

use super::{GroupInfo, NotRecorded, Options, Store, TopicInfo};
use crate::edge::status::Failure;

/// The log of this node.
pub(super) struct LogStore {
    log: Log,
    auto_create: bool,
    queues_default: u32,
    group_default: ConsumerGroupConfig,
}

impl LogStore {
    pub(super) fn new(log: Log, options: &Options) -> Self {
        Self {
            log,
            auto_create: options.auto_create,
            queues_default: options.queues_default,
            group_default: ConsumerGroupConfig {
                start_from: StartFrom::First,
                max_attempts: options.max_attempts,
                retry_delays_ms: options.retry_delays_ms.clone(),
            },
        }
    }

    /// Runs a command that makes something.
    async fn create(&self, command: Command) -> Result<(), Failure> {
        let outcomes = self.record(vec![command]).await;
        match outcomes.map_err(|refused| refused.failure)?.pop() {
            Some(Outcome::Refused(refusal)) => {
                let code = Code::ResourceExhausted;
                Err(Failure::new(code, "NOT_CREATED", refusal.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn may_create(
        &self,
        reason: &'static str,
        field: &'static str,
        name: &str,
    ) -> Result<(), Failure> {
        if self.auto_create {
            return Ok(());
        }
        let message = format!("{field} \"{name}\" does not exist, and auto_create is off");
        let failure = Failure::new(Code::NotFound, reason, message);
        Err(failure.with("field", field).with("value", name))
    }

    async fn make_topic(&self, name: &str) -> Result<TopicInfo, Failure> {
        name::check_topic("topic", name)?;
        self.may_create("TOPIC_NOT_FOUND", "topic", name)?;
        let command = Command::CreateTopic {
            name: name.to_owned(),
            queues: self.queues_default,
        };
        self.create(command).await?;
        self.find_topic(name).ok_or_else(vanished)
    }

    async fn make_group(&self, name: &str) -> Result<GroupInfo, Failure> {
        name::check_group("consumer_group", name)?;
        self.may_create("CONSUMER_GROUP_NOT_FOUND", "consumer_group", name)?;
        let command = Command::CreateConsumerGroup {
            name: name.to_owned(),
            config: self.group_default.clone(),
        };
        self.create(command).await?;
        self.group(name).ok_or_else(vanished)
    }

    fn find_topic(&self, name: &str) -> Option<TopicInfo> {
        Some(topic_info(&*self.log.topic(name)?))
    }
}

impl Store for LogStore {
    fn term(&self) -> u64 {
        self.log.status().term
    }

    fn ensure_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Failure>> {
        match self.find_topic(name) {
            Some(topic) => ready(Ok(topic)).boxed(),
            None => self.make_topic(name).boxed(),
        }
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
    Failure::new(Code::Internal, "NOT_CREATED", message)
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::DataLoss, "LOG_UNREADABLE", error.to_string())
}

fn not_recorded(error: SubmitError) -> NotRecorded {
    let (code, reason) = match error {
        SubmitError::Overloaded { .. } => (Code::ResourceExhausted, "LOG_OVERLOADED"),
        SubmitError::DiskFull => (Code::ResourceExhausted, "DISK_FULL"),
        SubmitError::TooLarge { .. } => (Code::InvalidArgument, "TOO_LARGE"),
        SubmitError::NotLeader { .. } => (Code::Unavailable, "NOT_LEADER"),
        SubmitError::OutcomeUnknown => (Code::Unavailable, "OUTCOME_UNKNOWN"),
        SubmitError::Closed => (Code::Unavailable, "SHUTTING_DOWN"),
    };
    NotRecorded {
        failure: Failure::new(code, reason, error.to_string()),
        try_again: matches!(error, SubmitError::Overloaded { .. }),
    }
}
