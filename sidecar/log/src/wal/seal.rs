//! What a full segment ends with, so that a start need not read through it: a table of its
//! entries, a summary of all groups, and at the very end of the file where the summary is.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, TryGetError};

use super::group::{EntryId, Group, Slot, Vote};
use super::record::{RECORD_ALIGNMENT_BYTES, seed, stored_bytes, u32_at};
use super::segment::SEGMENT_TRAILER_BYTES;

/// A segment is full when it has this many entries, which bounds its table to 4 MiB.
pub(super) const TABLE_ENTRIES_MAX: usize = 1 << 18;

const SLOT_BYTES: u64 = 16;
const TABLE_GROUP_BYTES: u64 = 16;
const SEAL_GROUP_BYTES: u64 = 4 + 4 + 16 + 3 * 16 + 3 * 8;
const TRAILER_MAGIC: u32 = 0x5ea1_5ea1;

/// The entries of one group in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupTable {
    /// The index of the first entry.
    pub(super) first: u64,
    pub(super) slots: Vec<Slot>,
}

impl GroupTable {
    pub(super) fn slot(&self, index: u64) -> Option<Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slots.get(at).copied()
    }
}

/// The entries of all groups in one segment.
pub(super) type Table = BTreeMap<u32, GroupTable>;

/// Which entries of a group lie in a full segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    /// One more than the last index.
    pub(super) end: u64,
}

/// The summary of a full segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Seal {
    /// Where the table's record starts.
    pub(super) table_offset: u32,
    /// The state of each group when the segment was full, without slots.
    pub(super) groups: BTreeMap<u32, (Group, Range)>,
}

/// Bytes that table, seal and trailer take, at most, with this many entries and groups.
pub(super) fn reserved_bytes(entries: usize, groups: usize) -> u64 {
    let (entries, groups) = (entries as u64, groups as u64);
    stored_bytes(TABLE_GROUP_BYTES * groups + SLOT_BYTES * entries)
        + stored_bytes(8 + SEAL_GROUP_BYTES * groups)
        + u64::from(SEGMENT_TRAILER_BYTES)
        + u64::from(RECORD_ALIGNMENT_BYTES)
}

/// The table of what was written to a segment.
pub(super) fn encode_table(groups: &BTreeMap<u32, Group>) -> Bytes {
    let mut out = Vec::new();
    for (id, group) in groups {
        out.put_u32_le(*id);
        out.put_u32_le(group.slots.len() as u32);
        out.put_u64_le(group.first);
        for slot in &group.slots {
            out.put_u64_le(slot.term);
            out.put_u32_le(slot.offset);
            out.put_u32_le(slot.length);
        }
    }
    out.into()
}

pub(super) fn decode_table(mut body: &[u8]) -> Result<Table, TryGetError> {
    let mut table = Table::new();
    while body.has_remaining() {
        let id = body.try_get_u32_le()?;
        let count = body.try_get_u32_le()?;
        let first = body.try_get_u64_le()?;
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(Slot {
                term: body.try_get_u64_le()?,
                offset: body.try_get_u32_le()?,
                length: body.try_get_u32_le()?,
            });
        }
        table.insert(id, GroupTable { first, slots });
    }
    Ok(table)
}

/// The summary of what was written to a segment and before it.
pub(super) fn encode_seal(table_offset: u32, groups: &BTreeMap<u32, Group>) -> Bytes {
    let mut out = Vec::new();
    out.put_u32_le(table_offset);
    out.put_u32_le(groups.len() as u32);
    for (id, group) in groups {
        let vote = group.vote.unwrap_or(Vote {
            term: 0,
            node: 0,
            committed: false,
        });
        let flags = [
            group.vote.is_some(),
            vote.committed,
            group.committed.is_some(),
            group.purged.is_some(),
            group.last.is_some(),
        ];
        out.put_u32_le(*id);
        out.put_u32_le(bits_of(&flags));
        out.put_u64_le(vote.term);
        out.put_u64_le(vote.node);
        for id in [group.committed, group.purged, group.last] {
            out.put_u64_le(id.map_or(0, |id| id.term));
            out.put_u64_le(id.map_or(0, |id| id.index));
        }
        out.put_u64_le(group.start);
        out.put_u64_le(group.first);
        out.put_u64_le(group.slots.len() as u64);
    }
    out.into()
}

pub(super) fn decode_seal(mut body: &[u8]) -> Result<Seal, TryGetError> {
    let mut seal = Seal {
        table_offset: body.try_get_u32_le()?,
        groups: BTreeMap::new(),
    };
    for _ in 0..body.try_get_u32_le()? {
        let id = body.try_get_u32_le()?;
        let flags = body.try_get_u32_le()?;
        let vote = Vote {
            term: body.try_get_u64_le()?,
            node: body.try_get_u64_le()?,
            committed: flags & 2 != 0,
        };
        let committed = get_entry_id(&mut body)?;
        let purged = get_entry_id(&mut body)?;
        let last = get_entry_id(&mut body)?;
        let start = body.try_get_u64_le()?;
        let first = body.try_get_u64_le()?;
        let end = first.saturating_add(body.try_get_u64_le()?);
        let group = Group {
            vote: (flags & 1 != 0).then_some(vote),
            committed: (flags & 4 != 0).then_some(committed),
            purged: (flags & 8 != 0).then_some(purged),
            last: (flags & 16 != 0).then_some(last),
            start,
            ..Group::default()
        };
        seal.groups.insert(id, (group, Range { first, end }));
    }
    Ok(seal)
}

/// The last bytes of a full segment.
pub(super) fn encode_trailer(segment: u32, segment_bytes: u32, seal_offset: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_TRAILER_BYTES as usize);
    out.put_u32_le(TRAILER_MAGIC);
    out.put_u32_le(seal_offset);
    out.put_u32_le(0);
    let crc = crc32c::crc32c_append(seed(segment, segment_bytes), &out);
    out.put_u32_le(crc);
    out
}

/// Where the seal is, when these are the last bytes of a full segment.
pub(super) fn decode_trailer(segment: u32, segment_bytes: u32, trailer: &[u8]) -> Option<u32> {
    let crc = crc32c::crc32c_append(seed(segment, segment_bytes), trailer.get(..12)?);
    let valid = u32_at(trailer, 0)? == TRAILER_MAGIC && u32_at(trailer, 12)? == crc;
    valid.then(|| u32_at(trailer, 4)).flatten()
}

fn bits_of(flags: &[bool]) -> u32 {
    let bit = |(place, set): (usize, &bool)| u32::from(*set) << place;
    flags.iter().enumerate().map(bit).sum()
}

fn get_entry_id(body: &mut &[u8]) -> Result<EntryId, TryGetError> {
    Ok(EntryId {
        term: body.try_get_u64_le()?,
        index: body.try_get_u64_le()?,
    })
}
