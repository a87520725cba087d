use std::collections::VecDeque;

use super::record::{Kind, Noted};

/// Term and index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// Whom a group's node has voted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

/// Where an entry's record starts in its segment, and how long its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// A record that cannot follow the records before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disorder {
    #[error("entry {found} follows entry {last}")]
    Gap { last: u64, found: u64 },
    #[error("a record of kind {0:?} has no place among entries")]
    Kind(Kind),
    #[error("a vote without its mark")]
    Vote,
}

/// What the log knows of one Raft group: its latest state, and the entries that lie in the
/// segment that is being written. Entries of full segments are found through their tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    /// The index up to which a sync has covered that.
    pub(super) durably_purged: Option<u64>,
    /// The last entry, or what was purged when there is none.
    pub(super) last: Option<EntryId>,
    /// The index of the very first entry.
    pub(super) start: u64,
    /// The last entry that a sync has covered.
    pub(super) durable: Option<EntryId>,
    /// The index of the first slot.
    pub(super) first: u64,
    pub(super) slots: VecDeque<Slot>,
}

impl Group {
    /// Takes note of a record that starts at this offset of the segment being written.
    pub(super) fn note(&mut self, record: &Noted, offset: u32) -> Result<(), Disorder> {
        let id = record.id;
        match record.kind {
            Kind::Blank | Kind::Normal | Kind::Membership => {
                return self.append(id, offset, record.length);
            }
            Kind::Vote => {
                let committed = match record.mark {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return Err(Disorder::Vote),
                };
                self.vote = Some(Vote {
                    term: id.term,
                    node: id.index,
                    committed,
                });
            }
            Kind::Committed => self.committed = Some(id),
            Kind::Truncate => self.truncate(record.mark.is_none().then_some(id)),
            Kind::Purge => self.purge(id),
            Kind::Table | Kind::Seal => return Err(Disorder::Kind(record.kind)),
        }
        Ok(())
    }

    /// Everything that is there has been synced.
    pub(super) fn all_durable(&mut self) {
        self.durable = self.last;
        self.durably_purged = self.purged.map(|purged| purged.index);
    }

    fn append(&mut self, id: EntryId, offset: u32, length: u32) -> Result<(), Disorder> {
        if let Some(last) = self.last
            && last.index.checked_add(1) != Some(id.index)
        {
            return Err(Disorder::Gap {
                last: last.index,
                found: id.index,
            });
        }
        if self.last.is_none() {
            self.start = id.index;
        }
        if self.slots.is_empty() {
            self.first = id.index;
        }
        self.last = Some(id);
        self.slots.push_back(Slot {
            term: id.term,
            offset,
            length,
        });
        Ok(())
    }

    fn truncate(&mut self, after: Option<EntryId>) {
        let reaches_last = |after: EntryId| self.last.is_none_or(|last| last.index <= after.index);
        if after.is_some_and(reaches_last) {
            return;
        }
        let next = after.map_or(0, |id| id.index + 1);
        let keep = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.truncate(keep);
        self.last = after.or(self.purged);
        self.durable = self.durable.min(self.last);
    }

    fn purge(&mut self, upto: EntryId) {
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
        while self.first <= upto.index && self.slots.pop_front().is_some() {
            self.first += 1;
        }
        if !self.has_entries() {
            self.slots.clear();
            self.last = self.purged;
        }
    }

    /// True when there is an entry that has not been purged. Only indexes tell: what was purged
    /// may be of an older term than entries before it, which somebody else had never committed.
    pub(super) fn has_entries(&self) -> bool {
        let index = |id: Option<EntryId>| id.map(|id| id.index);
        index(self.last) > index(self.purged)
    }

    /// The slot of an entry in the segment being written.
    pub(super) fn slot(&self, index: u64) -> Option<Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slots.get(at).copied()
    }

    /// The index of the first entry that has not been purged, if there is any.
    pub(super) fn begin(&self) -> u64 {
        self.purged.map_or(self.start, |purged| purged.index + 1)
    }

    /// True when the entry has been purged.
    pub(super) fn is_purged(&self, index: u64) -> bool {
        self.purged.is_some_and(|purged| index <= purged.index)
    }
}
