//! Topics that lie in other data groups, for messages of transactions.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use outrigger_core::placement::TopicHome;
use outrigger_proto::v1::{self, admin_client::AdminClient};
use tonic::{Code, Status};

use super::{status::Failure, topics::unknown};
use crate::forward::{Forward, Ways};

/// Names of topics that are remembered; above that they are asked for again.
const KNOWN_COUNT_MAX: usize = 10_000;

/// A topic of another data group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicThere {
    /// The data group.
    pub(crate) group: u32,
    /// The topic's name.
    pub(crate) name: Arc<str>,
}

/// Finds topics of other data groups, and makes them there; cheap to clone.
#[derive(Clone)]
pub(crate) struct Elsewhere {
    ways: Ways,
    /// The data group that this is in.
    here: u32,
    /// Topics that were there when they were asked for. Topics do not go away.
    known: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Elsewhere {
    pub(crate) fn new(ways: Ways, here: u32) -> Self {
        Self {
            ways,
            here,
            known: Arc::default(),
        }
    }

    /// The data group that has a topic, when that is another one.
    pub(crate) fn home(&self, name: &str) -> Option<u32> {
        match self.ways.placement().topic(name) {
            TopicHome::One(group) => Some(group).filter(|group| *group != self.here),
            TopicHome::Every => None,
        }
    }

    /// Refuses what was sent to a data group that does not have it.
    pub(crate) fn check(&self, group: u32, what: &str, name: &str) -> Result<(), Failure> {
        if group == self.here {
            return Ok(());
        }
        let here = self.here;
        let message = format!("{what} {name:?} lies in data group {group}, and this is {here}");
        Err(Failure::new(
            Code::FailedPrecondition,
            "WRONG_DATA_GROUP",
            message,
        ))
    }

    /// The data group where a transaction is decided.
    pub(crate) fn check_transaction(&self, id: u128, name: &str) -> Result<(), Failure> {
        let group = self.ways.placement().transaction(id);
        self.check(group, "transaction", name)
    }

    /// A topic that is known to exist there.
    pub(crate) fn find(&self, group: u32, name: &str) -> Option<TopicThere> {
        let name = self.known().get(name).cloned()?;
        Some(TopicThere { group, name })
    }

    /// Asks for a topic, and makes it where that is allowed.
    pub(crate) async fn ensure(
        &self,
        group: u32,
        name: &str,
        may_create: bool,
    ) -> Result<(), Failure> {
        let way = self.ways.way(group).cloned();
        let groups = self.ways.groups();
        let way = way.ok_or_else(|| crate::forward::unknown_data_group(group, groups))?;
        let asked = ask(way, name, may_create).await;
        asked.map_err(|status| refused(group, name, &status))?;
        let mut known = self.known();
        if known.len() >= KNOWN_COUNT_MAX {
            known.clear();
        }
        known.insert(name.into());
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(way: Forward, name: &str, may_create: bool) -> Result<(), Status> {
    let mut admin = AdminClient::new(way);
    let topic = name.to_owned();
    match may_create {
        true => {
            // What exists stays as it is.
            let request = v1::CreateTopicRequest {
                topic,
                ..v1::CreateTopicRequest::default()
            };
            admin.create_topic(request).await.map(drop)
        }
        false => {
            let request = v1::DescribeTopicRequest { topic };
            admin.describe_topic(request).await.map(drop)
        }
    }
}

fn refused(group: u32, name: &str, status: &Status) -> Failure {
    let (code, reason) = match status.code() {
        Code::NotFound => return unknown(name),
        Code::ResourceExhausted => (Code::ResourceExhausted, "TOO_MANY_TOPICS"),
        Code::Unavailable => (Code::Unavailable, "NO_LEADER"),
        _ => (Code::Internal, "UNEXPECTED_OUTCOME"),
    };
    let told = status.message();
    let message = format!("topic {name:?}, which data group {group} has, cannot be used: {told}");
    Failure::new(code, reason, message)
}
