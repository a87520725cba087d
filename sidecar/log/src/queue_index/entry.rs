//! One place in a queue.

use crate::place::Place;

/// Bytes of an [`Entry`] in a file.
pub(crate) const ENTRY_BYTES: usize = 40;

/// A message of a queue: where its stored bytes are, and what filters and order need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its place in the queue; in a transaction, its place among the messages.
    pub offset: u64,
    /// Where its stored bytes begin in the log.
    pub place: Place,
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
            place: self.place,
            length: self.length,
            tag_hash: self.tag_hash,
            key_hash: self.key_hash,
            time_ms: self.time_ms,
        }
    }
}

/// Which entry of which queue. Its checksum counts on it, so that an entry that has got
/// somewhere else is not taken for the one that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) topic: u32,
    pub(crate) queue: u32,
    pub(crate) offset: u64,
}

impl At {
    fn seed(self) -> u32 {
        let numbers = (u128::from(self.topic) << 96)
            | (u128::from(self.queue) << 64)
            | u128::from(self.offset);
        crc32c::crc32c(&numbers.to_le_bytes())
    }
}

/// An [`IndexEntry`] without its offset, which is where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) length: u32,
    pub(crate) tag_hash: u32,
    pub(crate) key_hash: u64,
    pub(crate) time_ms: u64,
}

impl Entry {
    /// Appends the form that it has in a file: index, offset, length, tag, checksum, key,
    /// time.
    pub(crate) fn put(&self, at: At, out: &mut Vec<u8>) {
        let mut before = [0; 20];
        let (words, _) = before.as_chunks_mut::<4>();
        let parts = [
            self.place.index as u32,
            (self.place.index >> 32) as u32,
            self.place.offset,
            self.length,
            self.tag_hash,
        ];
        for (word, part) in words.iter_mut().zip(parts) {
            *word = part.to_le_bytes();
        }
        let after = (u128::from(self.time_ms) << 64) | u128::from(self.key_hash);
        let after = after.to_le_bytes();
        out.extend_from_slice(&before);
        out.extend_from_slice(&checksum(at, &before, &after).to_le_bytes());
        out.extend_from_slice(&after);
    }

    /// Reads the form that it has in a file; nothing when it is not what was written.
    pub(crate) fn parse(at: At, bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (before, rest) = bytes.split_first_chunk::<20>()?;
        let (found, after) = rest.split_first_chunk::<4>()?;
        let (words, _) = before.as_chunks::<4>();
        let &[low, high, offset, length, tag_hash] = words else {
            return None;
        };
        let (numbers, _) = after.as_chunks::<8>();
        let &[key_hash, time_ms] = numbers else {
            return None;
        };
        if checksum(at, before, after) != u32::from_le_bytes(*found) {
            return None;
        }
        let [low, high] = [low, high].map(|word| u64::from(u32::from_le_bytes(word)));
        Some(Self {
            place: Place {
                index: low | (high << 32),
                offset: u32::from_le_bytes(offset),
            },
            length: u32::from_le_bytes(length),
            tag_hash: u32::from_le_bytes(tag_hash),
            key_hash: u64::from_le_bytes(key_hash),
            time_ms: u64::from_le_bytes(time_ms),
        })
    }

    /// The public form.
    pub(crate) fn at(&self, offset: u64) -> IndexEntry {
        IndexEntry {
            offset,
            place: self.place,
            length: self.length,
            time_ms: self.time_ms,
            tag_hash: self.tag_hash,
            key_hash: self.key_hash,
        }
    }
}

fn checksum(at: At, before: &[u8], after: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(at.seed(), before), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_here_is_read() {
        let entry = Entry {
            place: Place {
                index: 0x0102_0304_0506_0708,
                offset: 9,
            },
            length: 10,
            tag_hash: 11,
            key_hash: 12,
            time_ms: 13,
        };
        let at = At {
            topic: 1,
            queue: 2,
            offset: 3,
        };
        let mut bytes = Vec::new();
        entry.put(at, &mut bytes);
        let mut bytes: [u8; ENTRY_BYTES] = bytes.try_into().unwrap();
        assert_eq!(Entry::parse(at, &bytes), Some(entry));
        for elsewhere in [
            At { topic: 2, ..at },
            At { queue: 3, ..at },
            At { offset: 4, ..at },
        ] {
            assert_eq!(Entry::parse(elsewhere, &bytes), None, "{elsewhere:?}");
        }
        for bit in 0..ENTRY_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::parse(at, &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        // Zeros, as a file system may leave them after a crash.
        assert_eq!(Entry::parse(at, &[0; ENTRY_BYTES]), None);
    }
}
