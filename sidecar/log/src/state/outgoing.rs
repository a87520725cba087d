//! Messages of committed transactions that wait until another data group has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::place::Place;

/// For which data group a message is, and its number among those for that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OutgoingKey {
    pub(crate) target: u32,
    pub(crate) number: u64,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutgoingMessage {
    pub(crate) topic: Arc<str>,
    pub(crate) key_hash: u64,
    pub(crate) tag_hash: u32,
    pub(crate) deliver_at_ms: u64,
    pub(crate) place: Place,
    pub(crate) length: u32,
}

/// What a checkpoint writes about outgoing messages.
#[derive(Debug)]
pub(crate) struct OutgoingChanges {
    /// Nothing where a message no longer waits.
    pub(crate) messages: HashMap<OutgoingKey, Option<OutgoingMessage>>,
    /// The last number that was given, by target.
    pub(crate) last_numbers: BTreeMap<u32, u64>,
}

/// All messages that wait, for each target in the order of their numbers.
///
/// The numbers of a target begin at 1 and have no gaps, so that it can tell what it has.
#[derive(Debug)]
pub(crate) struct Outgoing {
    waiting: BTreeMap<OutgoingKey, OutgoingMessage>,
    last_numbers: BTreeMap<u32, u64>,
    /// Promised to the messages of unresolved transactions.
    reserved: u64,
    /// Since the last checkpoint; nothing where a message no longer waits.
    dirty: HashMap<OutgoingKey, Option<OutgoingMessage>>,
    dirty_targets: BTreeSet<u32>,
    /// There are more since the entry that is being applied began.
    grown: bool,
    /// Grows whenever there are more.
    version: watch::Sender<u64>,
}

impl Outgoing {
    pub(crate) fn new(version: watch::Sender<u64>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            last_numbers: BTreeMap::new(),
            reserved: 0,
            dirty: HashMap::new(),
            dirty_targets: BTreeSet::new(),
            grown: false,
            version,
        }
    }

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

    /// Gives a message the next number of its target.
    pub(crate) fn push(&mut self, target: u32, message: OutgoingMessage) {
        let last_number = self.last_numbers.entry(target).or_default();
        *last_number += 1;
        let number = *last_number;
        self.dirty_targets.insert(target);
        let key = OutgoingKey { target, number };
        self.dirty.insert(key, Some(message.clone()));
        self.waiting.insert(key, message);
        self.grown = true;
    }

    /// The target has everything up to this number.
    pub(crate) fn done(&mut self, target: u32, upto: u64) {
        let first = OutgoingKey { target, number: 0 };
        while let Some((&key, _)) = self.waiting.range(first..).next()
            && key.target == target
            && key.number <= upto
        {
            self.waiting.remove(&key);
            self.dirty.insert(key, None);
        }
    }

    /// The last number that was given to a target; 0 before the first one.
    pub(crate) fn last_number(&self, target: u32) -> u64 {
        self.last_numbers.get(&target).copied().unwrap_or_default()
    }

    /// Wakes whoever waits for more, when the entry is applied.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.grown) {
            self.version.send_modify(|version| *version += 1);
        }
    }

    /// For which data groups there is something.
    pub(crate) fn targets(&self) -> Vec<u32> {
        let last_numbers = self.last_numbers.keys().copied();
        let has_more = |target: &u32| self.after(*target, 0).next().is_some();
        last_numbers.filter(has_more).collect()
    }

    /// The messages for a target after this number, in order.
    pub(crate) fn after(
        &self,
        target: u32,
        after: u64,
    ) -> impl Iterator<Item = (u64, &OutgoingMessage)> {
        let number = after.saturating_add(1);
        let from = self.waiting.range(OutgoingKey { target, number }..);
        from.take_while(move |(key, _)| key.target == target)
            .map(|(key, message)| (key.number, message))
    }

    /// The smallest index of an entry of the log that has the bytes of a waiting message.
    pub(crate) fn oldest_place(&self) -> Option<u64> {
        self.waiting.values().map(|one| one.place.index).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a message in as it was.
    pub(crate) fn restore(&mut self, key: OutgoingKey, message: OutgoingMessage) {
        self.waiting.insert(key, message);
    }

    /// Goes on counting where the checkpoint was.
    pub(crate) fn restore_target(&mut self, target: u32, last_number: u64) {
        self.last_numbers.insert(target, last_number);
    }

    /// Everything was put in.
    pub(crate) fn restored(&mut self) {
        self.grown = !self.waiting.is_empty();
        self.publish();
    }

    pub(crate) fn take_dirty(&mut self) -> OutgoingChanges {
        let dirty_targets = std::mem::take(&mut self.dirty_targets);
        let last_number = |target| (target, self.last_number(target));
        OutgoingChanges {
            last_numbers: dirty_targets.into_iter().map(last_number).collect(),
            messages: std::mem::take(&mut self.dirty),
        }
    }

    /// A checkpoint could not be written: what it took is still to be written, except where
    /// there is a newer change.
    pub(crate) fn put_back(&mut self, taken: &OutgoingChanges) {
        for (key, message) in &taken.messages {
            self.dirty.entry(*key).or_insert_with(|| message.clone());
        }
        self.dirty_targets.extend(taken.last_numbers.keys());
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        (self.dirty.len() + self.dirty_targets.len()) as u64
    }

    /// Everything, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OutgoingKey, &OutgoingMessage)> {
        self.waiting.iter()
    }

    /// The last number that was given, by target.
    pub(crate) fn last_numbers(&self) -> &BTreeMap<u32, u64> {
        &self.last_numbers
    }
}
