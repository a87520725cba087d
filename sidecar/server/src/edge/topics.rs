//! From a topic's name to the number that the log knows it by.

use std::sync::Arc;

use outrigger_core::name;
use outrigger_log::{
    Durability, Log, Topic,
    command::{Command, Destination, Outcome, TopicId, TransactionId},
};
use tonic::Code;

use super::{
    elsewhere::{Elsewhere, TopicThere},
    refusal,
    status::Failure,
};

/// Finds topics, and makes them at their first use where that is allowed.
#[derive(Clone)]
pub(crate) struct Topics {
    log: Log,
    auto_create: bool,
    default_queues: u32,
    default_durability: Durability,
    /// Where there are several data groups.
    elsewhere: Option<Elsewhere>,
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// To a topic of this data group.
    Here(Arc<Topic>),
    /// To one of another data group.
    There(TopicThere),
}

impl Place {
    pub(crate) fn destination(&self) -> Destination {
        match self {
            Self::Here(topic) => topic.id.into(),
            Self::There(TopicThere { group, name }) => Destination::There {
                group: *group,
                topic: Arc::clone(name),
            },
        }
    }

    pub(crate) fn is_of(&self, topic: &str) -> bool {
        match self {
            Self::Here(known) => known.name == topic,
            Self::There(known) => *known.name == *topic,
        }
    }
}

impl Topics {
    pub(crate) fn new(
        log: Log,
        auto_create: bool,
        default_queues: u32,
        default_durability: Durability,
        elsewhere: Option<Elsewhere>,
    ) -> Self {
        Self {
            log,
            auto_create,
            default_queues,
            default_durability,
            elsewhere,
        }
    }

    /// A topic that exists.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.log.topic(name)
    }

    /// A topic that exists, in whichever data group.
    pub(crate) fn place(&self, name: &str) -> Option<Place> {
        match self.there(name) {
            Some((elsewhere, group)) => elsewhere.find(group, name).map(Place::There),
            None => self.find(name).map(Place::Here),
        }
    }

    fn there(&self, name: &str) -> Option<(&Elsewhere, u32)> {
        let elsewhere = self.elsewhere.as_ref()?;
        Some((elsewhere, elsewhere.home(name)?))
    }

    /// Refuses a transaction that another data group decides.
    pub(crate) fn check_transaction(&self, id: TransactionId) -> Result<(), Failure> {
        match &self.elsewhere {
            Some(elsewhere) => elsewhere.check_transaction(id.0, &id.to_string()),
            None => Ok(()),
        }
    }

    /// Makes a topic now when that is allowed, unless it exists; in whichever data group.
    pub(crate) async fn ensure_anywhere(&self, name: &str) -> Result<(), Failure> {
        match self.there(name) {
            None => self.ensure(name).await.map(drop),
            Some((elsewhere, group)) => {
                check(name)?;
                elsewhere.ensure(group, name, self.auto_create).await
            }
        }
    }

    /// The number of a topic of this data group, which is made now when that is allowed.
    pub(crate) async fn ensure(&self, name: &str) -> Result<TopicId, Failure> {
        if let Some(topic) = self.find(name) {
            return Ok(topic.id);
        }
        check(name)?;
        if let Some((elsewhere, group)) = self.there(name) {
            elsewhere.check(group, "topic", name)?;
        }
        if !self.auto_create {
            return Err(unknown(name));
        }
        self.create(name, 0, None).await
    }

    /// Makes a topic; 0 queues means the default number.
    pub(crate) async fn create(
        &self,
        name: &str,
        queues: u32,
        durability: Option<Durability>,
    ) -> Result<TopicId, Failure> {
        const QUEUES_MAX: u32 = 1_024;
        check(name)?;
        if let Some((elsewhere, group)) = self.there(name) {
            elsewhere.check(group, "topic", name)?;
        }
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
            durability: durability.unwrap_or(self.default_durability),
        };
        match refusal::run(&self.log, command).await? {
            Outcome::Topic(id) => Ok(id),
            other => Err(refusal::unexpected(Some(&other))),
        }
    }

    /// Changes when sends to a topic are answered that do not choose it themselves.
    pub(crate) async fn set_durability(
        &self,
        name: &str,
        durability: Durability,
    ) -> Result<(), Failure> {
        check(name)?;
        let topic = self.find(name).ok_or_else(|| unknown(name))?;
        let command = Command::SetTopicDurability {
            topic: topic.id,
            durability,
        };
        match refusal::run(&self.log, command).await? {
            Outcome::Topic(_) => Ok(()),
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
