use std::collections::BTreeMap;

use super::seal::Range;

/// In which full segments the entries of one group lie.
///
/// Entries that were cut off still lie in older segments. Those in their place were written
/// later, so what a newer segment has replaces what older ones have from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// By first index: the index after the last one, and the segment. They do not overlap.
    runs: BTreeMap<u64, (u64, u32)>,
}

impl Runs {
    /// A newer segment than all so far has these entries.
    pub(super) fn add(&mut self, segment: u32, range: Range) {
        if range.first >= range.end {
            return;
        }
        self.runs.split_off(&range.first);
        if let Some(mut before) = self.runs.last_entry() {
            let (end, _) = before.get_mut();
            *end = (*end).min(range.first);
        }
        self.runs.insert(range.first, (range.end, segment));
    }

    /// True when the segment has entries after those that have been purged.
    pub(super) fn needs(&self, segment: u32, purged: Option<u64>) -> bool {
        let mut runs = self.runs.values().filter(|(_, of)| *of == segment);
        runs.any(|(end, _)| purged.is_none_or(|purged| purged + 1 < *end))
    }

    /// The segment is gone.
    pub(super) fn remove(&mut self, segment: u32) {
        self.runs.retain(|_, (_, of)| *of != segment);
    }

    /// The segments in order, each with the index of its last entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.runs.values().map(|(end, segment)| (*segment, end - 1))
    }

    /// The segment that has the entry.
    pub(super) fn find(&self, index: u64) -> Option<u32> {
        let (_, (end, segment)) = self.runs.range(..=index).next_back()?;
        (index < *end).then_some(*segment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The newest segment that has an index has the entry, as long as cut-off entries
        /// are replaced in order.
        #[test]
        fn the_newest_segment_has_the_entry(cuts in prop::collection::vec((0..20_u64, 0..9_u64), 1..30)) {
            let mut runs = Runs::default();
            let mut newest = BTreeMap::new();
            let mut last = 0_u64;
            for (segment, (back, count)) in (1..).zip(cuts) {
                let first = last.saturating_sub(back);
                let range = Range { first, end: first + count };
                runs.add(segment, range);
                if count > 0 {
                    newest.split_off(&first);
                    newest.extend((first..first + count).map(|index| (index, segment)));
                    last = first + count;
                }
                for index in 0..last + 3 {
                    prop_assert_eq!(runs.find(index), newest.get(&index).copied(), "index {}", index);
                }
            }
        }
    }
}
