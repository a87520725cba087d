//! What all clients share: the world, what there is in it, and what they were told.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use outrigger_log::{
    ConsumerGroupId, TopicId,
    simulation::{EPOCH_MS, Plant, World},
};
use rand::Rng;

use crate::checker::{History, Place, QueueName};

/// A topic that was made at the beginning.
#[derive(Clone, Debug)]
pub(super) struct KnownTopic {
    pub(super) name: &'static str,
    pub(super) id: TopicId,
    pub(super) queues: u32,
}

/// The stage on which the clients act.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) plant: Option<Plant>,
    pub(super) topics: Vec<KnownTopic>,
    pub(super) groups: Vec<(&'static str, ConsumerGroupId)>,
    pub(super) history: History,
    /// What must not be, found on the way.
    pub(super) problems: Vec<String>,
    /// One more than the largest offset that anybody was told of, by topic and queue.
    told: BTreeMap<(TopicId, u32), u64>,
    /// Results of guards that were completed, and when that was confirmed.
    pub(super) completed: BTreeMap<String, (u64, String)>,
    /// Requests and answers in a hundred that are lost between client and node.
    pub(super) lost_percent: u32,
    /// No new work is begun any more.
    pub(super) finishing: bool,
}

impl Scene {
    pub(super) fn new(world: World, plant: Option<Plant>) -> Self {
        Self {
            world,
            plant,
            topics: Vec::new(),
            groups: Vec::new(),
            history: History::default(),
            problems: Vec::new(),
            told: BTreeMap::new(),
            completed: BTreeMap::new(),
            lost_percent: 0,
            finishing: false,
        }
    }

    /// The time of day, as a clock that is right shows it.
    pub(super) fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.world.now_ms()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.world.random().random_ratio(percent.min(100), 100)
    }

    pub(super) fn pick(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.world.random().random_range(range)
    }

    /// One of several things.
    pub(super) fn any<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        let place = self.world.random().random_range(0..of.len());
        of.get(place).cloned()
    }

    pub(super) fn problem(&mut self, what: String) {
        self.world.trace().note(format_args!("PROBLEM {what}"));
        self.problems.push(what);
    }

    /// Somebody was told that a message is at this place.
    pub(super) fn tell(&mut self, topic: TopicId, queue: u32, offset: u64) {
        let known = self.told.entry((topic, queue)).or_insert(0);
        *known = (*known).max(offset + 1);
    }

    /// How many messages of a queue somebody was told of.
    pub(super) fn told(&self, topic: TopicId, queue: u32) -> u64 {
        self.told.get(&(topic, queue)).copied().unwrap_or(0)
    }

    pub(super) fn place(topic: &KnownTopic, queue: u32, offset: u64) -> Place {
        Place {
            queue: QueueName {
                topic: topic.name.to_owned(),
                queue,
            },
            offset,
        }
    }
}

/// A hash of a message's content.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The id that a message's content begins with.
pub(super) fn id_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split('|').next().unwrap_or_default().to_owned()
}

/// The content of a message.
pub(super) fn content(id: &str, filling: u64) -> Vec<u8> {
    let mut content = format!("{id}|").into_bytes();
    content.resize(content.len() + filling as usize, b'.');
    content
}
