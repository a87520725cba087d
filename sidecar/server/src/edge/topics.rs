//! From a topic's name to the number that the log knows it by.

use outrigger_core::name;
use outrigger_log::{
    Log,
    command::{Command, Outcome, TopicId},
};
use tonic::Code;

use super::{refusal, status::Failure};

/// Finds topics, and makes them at their first use where that is allowed.
#[derive(Clone)]
pub(crate) struct Topics {
    log: Log,
    auto_create: bool,
    default_queues: u32,
}

impl Topics {
    pub(crate) fn new(log: Log, auto_create: bool, default_queues: u32) -> Self {
        Self {
            log,
            auto_create,
            default_queues,
        }
    }

    /// The number of a topic that exists.
    pub(crate) fn find(&self, name: &str) -> Option<TopicId> {
        self.log.topic(name).map(|topic| topic.id)
    }

    /// The number of a topic, which is made now when that is allowed.
    pub(crate) async fn ensure(&self, name: &str) -> Result<TopicId, Failure> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        check(name)?;
        if !self.auto_create {
            return Err(unknown(name));
        }
        self.create(name, 0).await
    }

    /// Makes a topic; 0 queues means the default number.
    pub(crate) async fn create(&self, name: &str, queues: u32) -> Result<TopicId, Failure> {
        const QUEUES_MAX: u32 = 1_024;
        check(name)?;
        let queues = if queues == 0 {
            self.default_queues
        } else {
            queues
        };
        if queues > QUEUES_MAX {
            return Err(Failure::invalid(
                "TOO_MANY_QUEUES",
                "queues",
                queues,
                "1 to 1024",
            ));
        }
        let command = Command::CreateTopic {
            name: name.to_owned(),
            queues,
        };
        match refusal::run(&self.log, command).await? {
            Outcome::Topic(id) => Ok(id),
            other => Err(refusal::unexpected(Some(&other))),
        }
    }
}

fn check(topic: &str) -> Result<(), Failure> {
    Ok(name::check_topic("topic", topic)?)
}

/// NOT_FOUND that names the topic.
pub(crate) fn unknown(name: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        "TOPIC_NOT_FOUND",
        format!("topic \"{name}\" does not exist and auto_create is off"),
    )
    .with("field", "topic")
    .with("value", name)
}
