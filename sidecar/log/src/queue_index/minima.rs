use std::collections::BTreeMap;

/// Entries of a queue that have one minimum.
pub(super) const BLOCK_ENTRIES: u64 = if cfg!(test) { 4 } else { 1_024 };

/// For blocks of a queue, the smallest index of an entry of the log that their messages have
/// their bytes in.
///
/// Messages of a transaction that was committed late, and delayed ones, point far back, so
/// the indexes in a queue have no order. To know what an old entry of the log is still
/// needed for, not all entries of a queue have to be looked at.
#[derive(Debug, Default)]
pub(super) struct Minima {
    /// A block of which the beginning was not seen is missing until it is looked at.
    blocks: BTreeMap<u64, u64>,
}

impl Minima {
    /// Takes note of the next entry.
    pub(super) fn append(&mut self, offset: u64, index: u64) {
        let block = offset / BLOCK_ENTRIES;
        if offset.is_multiple_of(BLOCK_ENTRIES) {
            self.blocks.insert(block, index);
        } else if let Some(minimum) = self.blocks.get_mut(&block) {
            *minimum = index.min(*minimum);
        }
    }

    pub(super) fn of(&self, block: u64) -> Option<u64> {
        self.blocks.get(&block).copied()
    }

    /// Takes note of a block that is complete.
    pub(super) fn put(&mut self, block: u64, minimum: u64) {
        self.blocks.insert(block, minimum);
    }

    /// Everything before the offset has expired.
    pub(super) fn forget(&mut self, first_offset: u64) {
        self.blocks = self.blocks.split_off(&(first_offset / BLOCK_ENTRIES));
    }
}
