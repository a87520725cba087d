//! The binary form of a record.
//!
//! ```text
//! crc u32 | length u32 | group u32 | kind u8 | flags u8 | 0 u16 | term u64 | index u64 | body | 0..7 zeros
//! ```
//!
//! Little-endian, each record starting at a multiple of eight. The CRC32C covers everything
//! behind it and is seeded with the segment's sequence number and the record's own offset: a
//! record that lies where it was not written, or was left over from another segment, is not
//! a record.

use bytes::{BufMut, Bytes};

use super::group::EntryId;

/// Bytes of a record before its body.
pub(super) const RECORD_HEADER_BYTES: u32 = 32;
/// Records start at multiples of this many bytes.
pub(super) const RECORD_ALIGNMENT_BYTES: u32 = 8;

/// The first record of a batch. Batches are written strictly one after the other, each one
/// after the sync of the one before: everything before such a record was durable when the
/// record was written.
const FLAG_FIRST_IN_BATCH: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry without content, with which a leader begins its term.
    Blank = 1,
    /// An entry with a batch of commands.
    Normal = 2,
    /// An entry with a membership.
    Membership = 3,
    /// The group's vote: term, node as index, and whether it is committed as body.
    Vote = 4,
    /// Term and index up to which the group has committed.
    Committed = 5,
    /// Entries above the index are gone; with a body of one byte, all of them.
    Truncate = 6,
    /// Entries up to term and index are no longer needed.
    Purge = 7,
    /// The table of the entries of a segment that is full.
    Table = 8,
    /// The last record of a segment that is full: the state of all groups.
    Seal = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Blank,
            2 => Self::Normal,
            3 => Self::Membership,
            4 => Self::Vote,
            5 => Self::Committed,
            6 => Self::Truncate,
            7 => Self::Purge,
            8 => Self::Table,
            9 => Self::Seal,
            _ => return None,
        })
    }
}

/// A record without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) group: u32,
    pub(crate) kind: Kind,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) body: Bytes,
}

/// What the index has to know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) group: u32,
    pub(super) kind: Kind,
    pub(super) id: EntryId,
    /// Bytes of the body.
    pub(super) length: u32,
    /// The first byte of the body.
    pub(super) mark: Option<u8>,
}

impl Record {
    pub(super) fn noted(&self) -> Noted {
        Noted {
            group: self.group,
            kind: self.kind,
            id: EntryId {
                term: self.term,
                index: self.index,
            },
            length: self.body.len() as u32,
            mark: self.body.first().copied(),
        }
    }

    /// Bytes that the record takes in a segment.
    pub(super) fn stored_bytes(&self) -> u64 {
        stored_bytes(self.body.len() as u64)
    }

    /// Appends the record, which will be written at this offset of this segment.
    pub(super) fn encode(&self, out: &mut Vec<u8>, segment: u32, offset: u32, first: bool) {
        let start = out.len();
        out.put_u32_le(0);
        out.put_u32_le(self.body.len() as u32);
        out.put_u32_le(self.group);
        out.put_u8(self.kind as u8);
        out.put_u8(if first { FLAG_FIRST_IN_BATCH } else { 0 });
        out.put_u16_le(0);
        out.put_u64_le(self.term);
        out.put_u64_le(self.index);
        out.put_slice(&self.body);
        let covered = out.get(start + 4..).unwrap_or_default();
        let crc = crc32c::crc32c_append(seed(segment, offset), covered);
        if let Some(field) = out.get_mut(start..start + 4) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        let padded = start + self.stored_bytes() as usize;
        out.resize(padded, 0);
    }
}

/// The fields of a record that say where it ends and what it is, not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    crc: u32,
    pub(super) length: u32,
    pub(super) group: u32,
    pub(super) kind: Kind,
    pub(super) first_in_batch: bool,
    pub(super) term: u64,
    pub(super) index: u64,
}

impl RecordHeader {
    /// What the index has to know, with the record's body.
    pub(super) fn noted(&self, body: &[u8]) -> Noted {
        Noted {
            group: self.group,
            kind: self.kind,
            id: EntryId {
                term: self.term,
                index: self.index,
            },
            length: self.length,
            mark: body.first().copied(),
        }
    }

    /// Reads the header; none when these bytes cannot be one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let flags = *bytes.get(13)?;
        if flags & !FLAG_FIRST_IN_BATCH != 0 || bytes.get(14..16)? != [0, 0] {
            return None;
        }
        Some(Self {
            crc: u32_at(bytes, 0)?,
            length: u32_at(bytes, 4)?,
            group: u32_at(bytes, 8)?,
            kind: Kind::from_byte(*bytes.get(12)?)?,
            first_in_batch: flags & FLAG_FIRST_IN_BATCH != 0,
            term: u64_at(bytes, 16)?,
            index: u64_at(bytes, 24)?,
        })
    }

    /// Bytes that the record takes in a segment.
    pub(super) fn stored_bytes(&self) -> u64 {
        stored_bytes(u64::from(self.length))
    }

    /// True when the bytes, header and body, are what was written at this place.
    pub(super) fn verify(&self, record: &[u8], segment: u32, offset: u32) -> bool {
        let end = RECORD_HEADER_BYTES as usize + self.length as usize;
        record.get(4..end).is_some_and(|covered| {
            crc32c::crc32c_append(seed(segment, offset), covered) == self.crc
        })
    }
}

/// Bytes that a record with a body of this length takes in a segment.
pub(super) fn stored_bytes(body_bytes: u64) -> u64 {
    (u64::from(RECORD_HEADER_BYTES) + body_bytes)
        .next_multiple_of(u64::from(RECORD_ALIGNMENT_BYTES))
}

/// The start value of a CRC at one place.
pub(super) fn seed(segment: u32, offset: u32) -> u32 {
    let mut place = [0; 8];
    let (first, second) = place.split_at_mut(4);
    first.copy_from_slice(&segment.to_le_bytes());
    second.copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&place)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?;
    field.try_into().ok().map(u64::from_le_bytes)
}
