use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Position;
use super::record::Kind;

/// An entry with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) kind: Kind,
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// Where its record starts on this node.
    pub(super) position: Position,
    pub(crate) body: Bytes,
}

/// The newest entries, in memory. What has not been written to its file yet stays here
/// whatever the limit says.
#[derive(Debug)]
pub(super) struct TailCache {
    bytes_max: usize,
    bytes: usize,
    /// Everything before it can be read from files.
    readable: Position,
    /// Per group, without gaps, in order of index and of position.
    groups: BTreeMap<u32, VecDeque<StoredEntry>>,
}

/// What an entry takes besides its body.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<StoredEntry>();

impl TailCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            readable: Position::default(),
            groups: BTreeMap::new(),
        }
    }

    /// Takes the entry that follows the last one of its group.
    pub(super) fn push(&mut self, group: u32, entry: StoredEntry) {
        let entries = self.groups.entry(group).or_default();
        if entries
            .back()
            .is_some_and(|last| last.index + 1 != entry.index)
        {
            self.bytes -= entries.drain(..).map(|entry| cost(&entry)).sum::<usize>();
        }
        self.bytes += cost(&entry);
        entries.push_back(entry);
        self.evict();
    }

    /// Drops the entries of a group from this index on.
    pub(super) fn truncate(&mut self, group: u32, next: u64) {
        let Some(entries) = self.groups.get_mut(&group) else {
            return;
        };
        while entries.back().is_some_and(|last| last.index >= next) {
            self.bytes -= entries.pop_back().as_ref().map_or(0, cost);
        }
    }

    /// Drops the entries of a group up to this index.
    pub(super) fn purge(&mut self, group: u32, upto: u64) {
        let Some(entries) = self.groups.get_mut(&group) else {
            return;
        };
        while entries.front().is_some_and(|first| first.index <= upto) {
            self.bytes -= entries.pop_front().as_ref().map_or(0, cost);
        }
    }

    /// Everything before this position is in its file now.
    pub(super) fn written(&mut self, upto: Position) {
        self.readable = self.readable.max(upto);
        self.evict();
    }

    pub(super) fn entry(&self, group: u32, index: u64) -> Option<&StoredEntry> {
        let entries = self.groups.get(&group)?;
        let first = entries.front()?.index;
        entries.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let oldest = self
                .groups
                .values_mut()
                .filter(|entries| !entries.is_empty())
                .min_by_key(|entries| entries.front().map(|entry| entry.position));
            let Some(entries) = oldest else { return };
            if entries
                .front()
                .is_none_or(|entry| entry.position >= self.readable)
            {
                return;
            }
            self.bytes -= entries.pop_front().as_ref().map_or(0, cost);
        }
    }
}

impl StoredEntry {
    /// A part of the body, when there is so much of it.
    pub(super) fn part(&self, offset: u32, length: u32) -> Option<Bytes> {
        let start = offset as usize;
        let end = start.checked_add(length as usize)?;
        (end <= self.body.len()).then(|| self.body.slice(start..end))
    }
}

fn cost(entry: &StoredEntry) -> usize {
    ENTRY_OVERHEAD_BYTES + entry.body.len()
}
