use std::collections::{BTreeMap, VecDeque};

/// Who is next in each message group. Only the first message of a group may be delivered.
#[derive(Debug, Default)]
pub(super) struct MessageGroups {
    lines: BTreeMap<u64, VecDeque<u64>>,
}

impl MessageGroups {
    /// Queues a message up; offsets only grow. True when it is first.
    pub(super) fn join(&mut self, key_hash: u64, offset: u64) -> bool {
        let line = self.lines.entry(key_hash).or_default();
        line.push_back(offset);
        line.len() == 1
    }

    /// Whether a message is first in its group; without a group it always is.
    pub(super) fn is_turn(&self, key_hash: u64, offset: u64) -> bool {
        let line = self.lines.get(&key_hash);
        key_hash == 0 || line.and_then(|line| line.front()) == Some(&offset)
    }

    /// Takes a message out; the answer is whose turn has come by that.
    pub(super) fn leave(&mut self, key_hash: u64, offset: u64) -> Option<u64> {
        let line = self.lines.get_mut(&key_hash)?;
        if line.front() == Some(&offset) {
            line.pop_front();
            let next = line.front().copied();
            if next.is_none() {
                self.lines.remove(&key_hash);
            }
            return next;
        }
        // The line is sorted.
        if let Ok(place) = line.binary_search(&offset) {
            line.remove(place);
        }
        None
    }
}
