//! Messages that wait until they are due.

use std::collections::{BTreeMap, HashMap};

use crate::command::TopicId;
use crate::place::Place;

/// Most messages that one command makes visible, so that no entry takes long to apply. The
/// leader asks again while there are more.
pub(crate) const DUE_MESSAGES_MAX: usize = 10_000;

/// When a message is due, and its place among those due at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DueKey {
    pub(crate) due_ms: u64,
    pub(crate) sequence: u64,
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayedMessage {
    pub(crate) topic: TopicId,
    pub(crate) key_hash: u64,
    pub(crate) tag_hash: u32,
    pub(crate) place: Place,
    pub(crate) length: u32,
}

/// All messages that wait, in the order in which they are due.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    waiting: BTreeMap<DueKey, DelayedMessage>,
    next_sequence: u64,
    /// Places promised to the messages of unresolved transactions.
    reserved: u64,
    /// Since the last checkpoint; nothing where a message no longer waits.
    dirty: HashMap<DueKey, Option<DelayedMessage>>,
}

impl Delayed {
    /// True when `more` messages can wait as well.
    pub(crate) fn has_room(&self, more: u64, limit: u64) -> bool {
        (self.waiting.len() as u64)
            .saturating_add(self.reserved)
            .saturating_add(more)
            <= limit
    }

    /// Promises places, so that a commit is never refused for lack of them.
    pub(crate) fn reserve(&mut self, count: u64) {
        self.reserved += count;
    }

    /// Gives promised places back.
    pub(crate) fn release(&mut self, count: u64) {
        self.reserved = self.reserved.saturating_sub(count);
    }

    pub(crate) fn schedule(&mut self, due_ms: u64, message: DelayedMessage) {
        let key = DueKey {
            due_ms,
            sequence: self.next_sequence,
        };
        self.next_sequence += 1;
        self.waiting.insert(key, message);
        self.dirty.insert(key, Some(message));
    }

    /// The next message that is due at `until_ms`.
    pub(crate) fn take_due(&mut self, until_ms: u64) -> Option<DelayedMessage> {
        let first = self.waiting.first_entry()?;
        if first.key().due_ms > until_ms {
            return None;
        }
        let (key, message) = first.remove_entry();
        self.dirty.insert(key, None);
        Some(message)
    }

    /// The smallest index of an entry of the log that has the bytes of a waiting message.
    pub(crate) fn oldest_place(&self) -> Option<u64> {
        self.waiting.values().map(|one| one.place.index).min()
    }

    /// When the first message is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(key, _)| key.due_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Puts a message in as it was.
    pub(crate) fn restore(&mut self, key: DueKey, message: DelayedMessage) {
        self.waiting.insert(key, message);
    }

    /// Goes on counting where the checkpoint was.
    pub(crate) fn restore_sequence(&mut self, next_sequence: u64) {
        self.next_sequence = next_sequence;
    }

    pub(crate) fn take_dirty(&mut self) -> HashMap<DueKey, Option<DelayedMessage>> {
        std::mem::take(&mut self.dirty)
    }

    /// A checkpoint could not be written: what it took is still to be written, except where
    /// there is a newer change.
    pub(crate) fn put_back(&mut self, taken: &HashMap<DueKey, Option<DelayedMessage>>) {
        for (&key, &message) in taken {
            self.dirty.entry(key).or_insert(message);
        }
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        self.dirty.len() as u64
    }

    /// Everything, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DueKey, &DelayedMessage)> {
        self.waiting.iter()
    }
}
