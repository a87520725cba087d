use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;

use bytes::Bytes;

use super::Position;
use super::group::EntryId;
use super::index::Index;
use super::record::{Kind, Record};
use super::seal::{self, TABLE_ENTRIES_MAX};
use super::segment::SEGMENT_HEADER_BYTES;

/// Called when everything before it is durable, or never will be.
pub(crate) type Flushed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Work for the writer, in order.
pub(super) enum Item {
    /// A record at an offset of the segment being written.
    Record { offset: u32, record: Record },
    /// The segment is full; the next one begins.
    Seal(SealItem),
    /// Everything before must be durable.
    Flushed(Flushed),
}

/// How a full segment ends.
pub(super) struct SealItem {
    pub(super) segment: u32,
    pub(super) segment_bytes: u32,
    pub(super) table: Record,
    pub(super) table_offset: u32,
    pub(super) seal: Record,
    pub(super) seal_offset: u32,
}

/// A segment that is being written, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) sequence: u32,
    pub(super) bytes: u32,
}

/// A part of the log in memory, behind one lock: where everything is, and what is to be
/// written.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) queue: VecDeque<Item>,
    pub(super) active: Plan,
    /// Where the next record goes.
    pub(super) next_offset: u32,
    /// The segment after the active one.
    pub(super) next: Plan,
    /// Commit positions to write with the next batch.
    pub(super) lazy: BTreeMap<u32, EntryId>,
    /// True while the writer waits without a limit, and would not see `lazy` by itself.
    pub(super) writer_asleep: bool,
    /// Set once: nothing is written any more.
    pub(super) failed: Option<io::ErrorKind>,
    pub(super) closing: bool,
}

impl State {
    /// Gives the record its place, after what waits to be written with it.
    pub(super) fn push(
        &mut self,
        record: Record,
        following: impl FnMut(u32) -> Plan,
    ) -> io::Result<Position> {
        let mut following = following;
        self.check_open()?;
        self.push_lazy(&mut following)?;
        self.place(record, &mut following)
    }

    /// Gives the waiting commit positions their places.
    pub(super) fn push_lazy(&mut self, following: &mut impl FnMut(u32) -> Plan) -> io::Result<()> {
        for (group, id) in mem::take(&mut self.lazy) {
            let record = Record {
                group,
                kind: Kind::Committed,
                term: id.term,
                index: id.index,
                body: Bytes::new(),
            };
            self.place(record, following)?;
        }
        Ok(())
    }

    fn place(
        &mut self,
        record: Record,
        following: &mut impl FnMut(u32) -> Plan,
    ) -> io::Result<Position> {
        let bytes = record.stored_bytes();
        // The first segments are small: it may take the one after the next.
        let mut may_roll = true;
        while may_roll && !self.fits(bytes) {
            may_roll = self.next.bytes > self.active.bytes;
            self.roll(following);
        }
        if !self.fits(bytes) {
            let limit = self.active.bytes;
            let message = format!("a record of {bytes} bytes in segments of {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let offset = self.next_offset;
        self.index
            .note(&record.noted(), offset)
            .map_err(|disorder| io::Error::new(io::ErrorKind::InvalidInput, disorder))?;
        self.next_offset += bytes as u32;
        self.queue.push_back(Item::Record { offset, record });
        Ok(Position {
            segment: self.active.sequence,
            offset,
        })
    }

    /// An error once nothing can be written any more.
    pub(super) fn check_open(&self) -> io::Result<()> {
        match self.failed {
            Some(kind) => Err(io::Error::new(kind, "the write-ahead log has failed")),
            None if self.closing => Err(io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }

    fn fits(&self, record_bytes: u64) -> bool {
        record_bytes <= self.left_bytes()
    }

    /// The largest record that the segment being written has room for.
    pub(super) fn left_bytes(&self) -> u64 {
        let entries = self.index.active_entries() + 1;
        if entries > TABLE_ENTRIES_MAX {
            return 0;
        }
        let reserved = seal::reserved_bytes(entries, self.index.groups.len() + 1);
        let used = u64::from(self.next_offset) + reserved;
        u64::from(self.active.bytes).saturating_sub(used)
    }

    fn roll(&mut self, following: &mut impl FnMut(u32) -> Plan) {
        let segment = self.active.sequence;
        let table_offset = self.next_offset;
        let (table, seal) = self.index.seal_bodies(table_offset);
        let own = |kind, body| Record {
            group: 0,
            kind,
            term: 0,
            index: 0,
            body,
        };
        let (table, seal) = (own(Kind::Table, table), own(Kind::Seal, seal));
        let seal_offset = table_offset + table.stored_bytes() as u32;
        self.queue.push_back(Item::Seal(SealItem {
            segment,
            segment_bytes: self.active.bytes,
            table,
            table_offset,
            seal,
            seal_offset,
        }));
        self.index.seal_active(self.active, table_offset);
        self.active = self.next;
        self.next = following(self.active.sequence + 1);
        self.next_offset = SEGMENT_HEADER_BYTES;
    }
}
