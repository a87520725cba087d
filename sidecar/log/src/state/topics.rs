//! Topics and their queues.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use outrigger_core::name::DEAD_LETTER_PREFIX;
use tokio::sync::watch;

use crate::command::{Durability, TopicId};
use crate::queue_index::{Entry, Files, IndexError, Queue};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its number.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How many queues it has.
    pub queues: u32,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub(super) durability: ChangingDurability,
}

impl Topic {
    /// Of sends that do not choose one. It may change at any time.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability.get()
    }
}

/// A durability that readers share with the state machine, which changes it.
#[derive(Debug)]
pub(super) struct ChangingDurability(AtomicU8);

impl ChangingDurability {
    pub(super) fn new(durability: Durability) -> Self {
        Self(AtomicU8::new(durability.to_byte()))
    }

    fn get(&self) -> Durability {
        Durability::from_byte(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn set(&self, durability: Durability) {
        self.0.store(durability.to_byte(), Ordering::Relaxed);
    }
}

impl Clone for ChangingDurability {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl PartialEq for ChangingDurability {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for ChangingDurability {}

/// A topic with its queues, shared between the state machine, which appends, and readers.
#[derive(Debug)]
pub(crate) struct TopicQueues {
    pub(crate) topic: Arc<Topic>,
    pub(crate) queues: Vec<Queue>,
    /// Grows whenever messages became visible.
    pub(crate) visible: watch::Sender<u64>,
}

/// What only the state machine knows of a topic.
#[derive(Debug)]
struct Slot {
    shared: Arc<TopicQueues>,
    /// Which queue messages without a key get into; moves on from entry to entry.
    rotation: u32,
    /// Messages became visible in the entry that is being applied.
    touched: bool,
    /// One of them had no key. Only such entries turn the rotation: otherwise entries
    /// that come in a regular pattern would leave queues empty.
    rotated: bool,
}

/// A topic's record in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicRecord {
    pub(crate) topic: Arc<Topic>,
    /// As it was when the record was taken.
    pub(crate) durability: Durability,
    pub(crate) rotation: u32,
    /// By queue: the first offset that has not expired, and the next one.
    pub(crate) offsets: Vec<(u64, u64)>,
}

/// All topics, as the state machine sees them.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    slots: Vec<Slot>,
    by_name: HashMap<String, TopicId>,
    touched: Vec<TopicId>,
    /// Changed since the last checkpoint.
    dirty: BTreeSet<TopicId>,
    /// Places in queues that no checkpoint has taken yet.
    unwritten: u64,
}

impl Topics {
    pub(crate) fn get(&self, id: TopicId) -> Option<&Arc<TopicQueues>> {
        self.slots.get(id.0 as usize).map(|slot| &slot.shared)
    }

    pub(crate) fn named(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Makes a topic whose name is not taken.
    pub(crate) fn create(
        &mut self,
        name: &str,
        queues: u32,
        durability: Durability,
        stamp_ms: u64,
        files: &Arc<Files>,
    ) -> Arc<TopicQueues> {
        let id = TopicId(self.slots.len() as u32);
        let record = TopicRecord {
            topic: Arc::new(Topic {
                id,
                name: name.to_owned(),
                queues,
                created_at_ms: stamp_ms,
                durability: ChangingDurability::new(durability),
            }),
            durability,
            rotation: 0,
            offsets: vec![(0, 0); queues as usize],
        };
        self.dirty.insert(id);
        self.restore(record, files)
    }

    /// False when there is no such topic.
    pub(crate) fn set_durability(&mut self, id: TopicId, durability: Durability) -> bool {
        let Some(slot) = self.slots.get(id.0 as usize) else {
            return false;
        };
        slot.shared.topic.durability.set(durability);
        self.dirty.insert(id);
        true
    }

    /// Puts a topic in as it was. Topics come in the order of their ids.
    pub(crate) fn restore(&mut self, record: TopicRecord, files: &Arc<Files>) -> Arc<TopicQueues> {
        let id = record.topic.id;
        let queues = record.offsets.iter().zip(0..);
        let queue = |(&(first, next), queue)| {
            let files = Arc::clone(files);
            Queue::new(id.0, queue, files, first, next)
        };
        let shared = Arc::new(TopicQueues {
            queues: queues.map(queue).collect(),
            visible: watch::Sender::new(0),
            topic: record.topic,
        });
        self.by_name.insert(shared.topic.name.clone(), id);
        self.slots.push(Slot {
            shared: Arc::clone(&shared),
            rotation: record.rotation,
            touched: false,
            rotated: false,
        });
        shared
    }

    /// Makes a message visible. Messages with the same key get into the same queue; the
    /// others of one entry stay together, which is what makes reading them fast.
    pub(crate) fn append(&mut self, topic: TopicId, entry: Entry) -> Option<(u32, u64)> {
        let slot = self.slots.get_mut(topic.0 as usize)?;
        if !slot.touched {
            slot.touched = true;
            self.touched.push(topic);
        }
        let queues = slot.shared.topic.queues.max(1);
        if entry.key_hash == 0 && !slot.rotated {
            slot.rotated = true;
            slot.rotation = (slot.rotation + 1) % queues;
        }
        let queue = match entry.key_hash {
            0 => slot.rotation,
            key_hash => (key_hash % u64::from(queues)) as u32,
        };
        let offset = slot.shared.queues.get(queue as usize)?.append(entry);
        self.unwritten += 1;
        Some((queue, offset))
    }

    /// Lets go of messages whose bytes are in entries of the log up to `floor`, and of those
    /// before them; dead letters stay. Tells in which queues, and their first offsets now.
    pub(crate) fn expire(
        &mut self,
        floor: u64,
    ) -> Result<BTreeMap<(TopicId, u32), u64>, IndexError> {
        let mut moved = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| !is_dead_letters(slot)) {
            let id = slot.shared.topic.id;
            for (queue, number) in slot.shared.queues.iter().zip(0..) {
                if queue.expire(floor)? {
                    moved.insert((id, number), queue.first_offset());
                    self.dirty.insert(id);
                }
            }
        }
        Ok(moved)
    }

    /// The smallest index of an entry of the log that has the bytes of a dead letter.
    pub(crate) fn oldest_dead_letter(&self) -> Result<Option<u64>, IndexError> {
        let mut oldest = None;
        for slot in self.slots.iter().filter(|slot| is_dead_letters(slot)) {
            for queue in &slot.shared.queues {
                if let Some(place) = queue.oldest_place(0)? {
                    oldest = Some(oldest.map_or(place, |oldest: u64| oldest.min(place)));
                }
            }
        }
        Ok(oldest)
    }

    /// The entry is applied: its messages are visible, and whoever waits is woken.
    pub(crate) fn publish(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(id.0 as usize) {
                slot.touched = false;
                slot.rotated = false;
                slot.shared.visible.send_modify(|version| *version += 1);
            }
            self.dirty.insert(id);
        }
    }

    /// What changed since the last checkpoint.
    pub(crate) fn take_dirty(&mut self) -> Vec<(Arc<TopicQueues>, TopicRecord)> {
        let dirty = std::mem::take(&mut self.dirty);
        let slots = dirty
            .into_iter()
            .filter_map(|id| self.slots.get(id.0 as usize));
        slots
            .map(|slot| (Arc::clone(&slot.shared), record(slot)))
            .collect()
    }

    /// The same for the places in queues: how many are new.
    pub(crate) fn take_unwritten(&mut self) -> u64 {
        std::mem::take(&mut self.unwritten)
    }

    /// A checkpoint could not be written: what it took is still to be written.
    pub(crate) fn put_back(&mut self, dirty: impl Iterator<Item = TopicId>, unwritten: u64) {
        self.dirty.extend(dirty);
        self.unwritten += unwritten;
    }

    /// How many places in queues no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Everything, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<TopicQueues>, TopicRecord)> {
        self.slots.iter().map(|slot| (&slot.shared, record(slot)))
    }
}

fn bounds(queue: &Queue) -> (u64, u64) {
    (queue.first_offset(), queue.next_offset())
}

fn is_dead_letters(slot: &Slot) -> bool {
    slot.shared.topic.name.starts_with(DEAD_LETTER_PREFIX)
}

fn record(slot: &Slot) -> TopicRecord {
    TopicRecord {
        topic: Arc::clone(&slot.shared.topic),
        durability: slot.shared.topic.durability(),
        rotation: slot.rotation,
        offsets: slot.shared.queues.iter().map(bounds).collect(),
    }
}
