use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::group::{Disorder, Group, Slot};
use super::record::Noted;
use super::runs::Runs;
use super::seal::{self, GroupTable, Range, Seal, Table};
use super::state::Plan;

/// Where to look for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the segment being written.
    Active(Slot),
    /// In the table of this full segment.
    Sealed(u32),
}

/// A full segment that has entries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FullSegment {
    pub(crate) segment: u32,
    /// The index of the group's last entry in there.
    pub(crate) last_index: u64,
}

/// A full segment: where its table is.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) bytes: u32,
    pub(super) table_offset: u32,
    /// The table, as long as it is not in its file.
    pub(super) unwritten: Option<Arc<Table>>,
}

/// Where everything is.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) groups: BTreeMap<u32, Group>,
    pub(super) sealed: BTreeMap<u32, Sealed>,
    /// Where to look for entries of full segments, by group.
    runs: BTreeMap<u32, Runs>,
}

impl Index {
    /// Takes note of a record that starts at this offset of the segment being written.
    pub(super) fn note(&mut self, record: &Noted, offset: u32) -> Result<(), Disorder> {
        let group = self.groups.entry(record.group).or_default();
        group.note(record, offset)
    }

    /// Everything that is there has been synced.
    pub(super) fn all_durable(&mut self) {
        for group in self.groups.values_mut() {
            group.all_durable();
        }
    }

    /// How many entries lie in the segment being written.
    pub(super) fn active_entries(&self) -> usize {
        self.groups.values().map(|group| group.slots.len()).sum()
    }

    /// The bodies of the table and the seal with which the segment being written ends.
    pub(super) fn seal_bodies(&self, table_offset: u32) -> (Bytes, Bytes) {
        let table = seal::encode_table(&self.groups);
        (table, seal::encode_seal(table_offset, &self.groups))
    }

    /// The segment being written is full: what lies in it is found through its table now.
    pub(super) fn seal_active(&mut self, plan: Plan, table_offset: u32) {
        let segment = plan.sequence;
        let mut table = Table::new();
        for (id, group) in &mut self.groups {
            let end = group.first + group.slots.len() as u64;
            let first = group.first;
            let slots = std::mem::take(&mut group.slots).into();
            let range = Range { first, end };
            self.runs.entry(*id).or_default().add(segment, range);
            table.insert(*id, GroupTable { first, slots });
            group.first = end;
        }
        let sealed = Sealed {
            bytes: plan.bytes,
            table_offset,
            unwritten: Some(Arc::new(table)),
        };
        self.sealed.insert(segment, sealed);
    }

    /// Takes over what the seal of a full segment says, in order of the segments.
    pub(super) fn load(&mut self, plan: Plan, seal: Seal) {
        let segment = plan.sequence;
        for (id, (mut group, range)) in seal.groups {
            group.all_durable();
            group.first = range.end;
            self.groups.insert(id, group);
            self.runs.entry(id).or_default().add(segment, range);
        }
        let sealed = Sealed {
            bytes: plan.bytes,
            table_offset: seal.table_offset,
            unwritten: None,
        };
        self.sealed.insert(segment, sealed);
    }

    /// The oldest full segment, when no group needs it any more and will not after a crash
    /// either: what is noted but not synced says nothing yet, neither that entries were purged
    /// nor that a newer segment has others in their place. The newest full segment stays: it
    /// says what older ones did, votes included.
    pub(super) fn removable(&self) -> Option<u32> {
        let (&segment, _) = self.sealed.first_key_value()?;
        self.sealed.range(segment + 1..).next()?;
        if self.sealed.values().any(|full| full.unwritten.is_some()) {
            return None;
        }
        let needs = |(id, group): (&u32, &Group)| {
            let runs = self.runs.get(id);
            runs.is_some_and(|runs| runs.needs(segment, group.durably_purged))
        };
        (!self.groups.iter().any(needs)).then_some(segment)
    }

    /// The segment is about to be removed: nothing is found in it any more.
    pub(super) fn forget(&mut self, segment: u32) {
        self.sealed.remove(&segment);
        self.runs.values_mut().for_each(|runs| runs.remove(segment));
    }

    /// The full segments with entries of a group, in order.
    pub(super) fn full_segments(&self, group: u32) -> Vec<FullSegment> {
        let runs = self.runs.get(&group).into_iter().flat_map(Runs::iter);
        let full = |(segment, last_index)| FullSegment {
            segment,
            last_index,
        };
        runs.map(full).collect()
    }

    /// The last of the oldest full segments that together take so many bytes, or of all of them.
    pub(super) fn oldest_of(&self, bytes: u64) -> Option<u32> {
        let mut left = bytes;
        let oldest = self.sealed.iter().take_while(|(_, sealed)| {
            let more = left > 0;
            left = left.saturating_sub(u64::from(sealed.bytes));
            more
        });
        oldest.last().map(|(segment, _)| *segment)
    }

    /// What the full segments take, from the one on with the group's next entry after this one;
    /// none when there is no such entry.
    pub(super) fn bytes_after(&self, group: u32, index: u64) -> Option<u64> {
        let begin = self.groups.get(&group)?.begin();
        match self.locate(group, begin.max(index + 1))? {
            Location::Active(_) => Some(0),
            Location::Sealed(segment) => {
                let since = self.sealed.range(segment..);
                Some(since.map(|(_, sealed)| u64::from(sealed.bytes)).sum())
            }
        }
    }

    /// What all full segments take.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed
            .values()
            .map(|sealed| u64::from(sealed.bytes))
            .sum()
    }

    /// Where the entry is, when there is one of this index.
    pub(super) fn locate(&self, group: u32, index: u64) -> Option<Location> {
        let known = self.groups.get(&group)?;
        if known.is_purged(index) || known.last.is_none_or(|last| last.index < index) {
            return None;
        }
        if let Some(slot) = known.slot(index) {
            return Some(Location::Active(slot));
        }
        let segment = self.runs.get(&group)?.find(index)?;
        Some(Location::Sealed(segment))
    }
}
