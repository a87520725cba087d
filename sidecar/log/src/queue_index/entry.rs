//! One place in a queue.

use crate::wal::Position;

/// Bytes of an [`Entry`] in a file.
pub(crate) const ENTRY_BYTES: usize = 32;

/// A message of a queue: where its stored bytes are, and what filters and order need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its place in the queue; in a transaction, its place among the messages.
    pub offset: u64,
    /// Where its stored bytes begin in the write-ahead log.
    pub position: Position,
    /// How many stored bytes there are.
    pub length: u32,
    /// When it became visible, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Hash of its tag; 0 when there is none.
    pub tag_hash: u32,
    /// Hash of its message group; 0 when there is none.
    pub key_hash: u64,
}

impl IndexEntry {
    /// Without the offset.
    pub(crate) fn bare(&self) -> Entry {
        Entry {
            position: self.position.to_u64(),
            length: self.length,
            tag_hash: self.tag_hash,
            key_hash: self.key_hash,
            time_ms: self.time_ms,
        }
    }
}

/// An [`IndexEntry`] without its offset, which is where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) length: u32,
    pub(crate) tag_hash: u32,
    pub(crate) key_hash: u64,
    pub(crate) time_ms: u64,
}

impl Entry {
    /// Appends the form that it has in a file.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.tag_hash.to_le_bytes());
        out.extend_from_slice(&self.key_hash.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
    }

    /// Reads the form that it has in a file.
    pub(crate) fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [
            p0,
            p1,
            p2,
            p3,
            p4,
            p5,
            p6,
            p7,
            l0,
            l1,
            l2,
            l3,
            t0,
            t1,
            t2,
            t3,
            k0,
            k1,
            k2,
            k3,
            k4,
            k5,
            k6,
            k7,
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            m6,
            m7,
        ] = *bytes;
        Self {
            position: u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            tag_hash: u32::from_le_bytes([t0, t1, t2, t3]),
            key_hash: u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]),
            time_ms: u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        }
    }

    /// The public form.
    pub(crate) fn at(&self, offset: u64) -> IndexEntry {
        IndexEntry {
            offset,
            position: Position::from_u64(self.position),
            length: self.length,
            time_ms: self.time_ms,
            tag_hash: self.tag_hash,
            key_hash: self.key_hash,
        }
    }
}
