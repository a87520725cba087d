//! What a node has, as it was read from that very node.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

/// The state of one node.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Which node.
    pub node: u64,
    /// Every queue of every topic.
    pub queues: BTreeMap<QueueName, Queue>,
    /// What it has applied of each data group whose digest is to be compared.
    pub applied: BTreeMap<u32, Applied>,
}

/// How far a node is in a data group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry that it has applied.
    pub index: u64,
    /// Its digest there.
    pub digest: Vec<u8>,
}

/// A queue of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName {
    /// The topic.
    pub topic: String,
    /// The queue's number.
    pub queue: u32,
}

/// What is in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Messages below it have expired.
    pub first_offset: u64,
    /// In the order in which they were read.
    pub messages: Vec<Stored>,
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the queue.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// What is in it, made as that of the history.
    pub fingerprint: u64,
}

/// The place of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The queue.
    pub queue: QueueName,
    /// The place in it.
    pub offset: u64,
}

/// Where a replica has the messages of each id.
pub(super) type Places<'a> = HashMap<&'a str, Vec<(&'a QueueName, &'a Stored)>>;

impl Replica {
    pub(super) fn places(&self) -> Places<'_> {
        let mut places = Places::new();
        for (name, queue) in &self.queues {
            for stored in &queue.messages {
                places.entry(&stored.id).or_default().push((name, stored));
            }
        }
        places
    }

    /// True when what was at this place is gone by right.
    pub(super) fn is_expired(&self, place: &Place) -> bool {
        let queue = self.queues.get(&place.queue);
        queue.is_some_and(|queue| place.offset < queue.first_offset)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.queue)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.queue, self.offset)
    }
}
