//! Up to which number the messages of other data groups were delivered.

use std::collections::{BTreeMap, BTreeSet};

/// The last number that was delivered, by source.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    last_numbers: BTreeMap<u32, u64>,
    /// Changed since the last checkpoint.
    dirty: BTreeSet<u32>,
}

impl Incoming {
    /// The last number of a source that was delivered; 0 before the first one.
    pub(crate) fn last_number(&self, source: u32) -> u64 {
        self.last_numbers.get(&source).copied().unwrap_or_default()
    }

    /// Another one was delivered.
    pub(crate) fn delivered(&mut self, source: u32, last_number: u64) {
        self.restore(source, last_number);
        self.dirty.insert(source);
    }

    /// Goes on counting where the checkpoint was.
    pub(crate) fn restore(&mut self, source: u32, last_number: u64) {
        self.last_numbers.insert(source, last_number);
    }

    pub(crate) fn take_dirty(&mut self) -> BTreeMap<u32, u64> {
        let dirty = std::mem::take(&mut self.dirty);
        let last_number = |source| (source, self.last_number(source));
        dirty.into_iter().map(last_number).collect()
    }

    /// A checkpoint could not be written: what it took is still to be written.
    pub(crate) fn put_back(&mut self, sources: impl Iterator<Item = u32>) {
        self.dirty.extend(sources);
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        self.dirty.len() as u64
    }

    /// Everything, in order.
    pub(crate) fn last_numbers(&self) -> &BTreeMap<u32, u64> {
        &self.last_numbers
    }
}
