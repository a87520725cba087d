//! The body of a Raft entry: a version, the leader's time stamp, and commands.
//!
//! ```text
//! version u8 | stamp_ms u64 | count | command ...
//! command = tag u8 | fields
//! message = destination | key_hash u64? | tag_hash u32? | deliver_at_ms? | length | stored bytes
//! destination = topic | flags u8, or data group | flags u8 | name's length | name
//! ```
//!
//! Numbers without a width are LEB128. Each message's stored bytes are in one piece, so the
//! queue index can point at them: a message is written once and never copied again.

use bytes::Bytes;

use super::decode;
use super::encode;
use super::{Command, RecordedCommand};
pub use crate::codec::CodecError;

/// The format that this program writes, and the newest that it reads.
pub(super) const VERSION: u8 = 1;

/// Bytes before the first command, at most.
const HEADER_BYTES_MAX: usize = 1 + 8 + 10;

/// The commands of one entry with the leader's time stamp.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<'a> {
    /// When the leader built the entry, in milliseconds since the Unix epoch. The state
    /// machine knows no other clock.
    pub stamp_ms: u64,
    pub(crate) commands: Vec<RecordedCommand<'a>>,
}

impl<'a> Batch<'a> {
    /// Writes the body of an entry.
    #[must_use]
    pub fn encode(stamp_ms: u64, commands: &[Command]) -> Bytes {
        let bytes: usize = commands.iter().map(Command::encoded_bytes_max).sum();
        let mut out = Vec::with_capacity(bytes + HEADER_BYTES_MAX);
        encode::batch(&mut out, stamp_ms, commands);
        Bytes::from(out)
    }

    /// Reads the body of an entry; everything in the result is borrowed from it.
    ///
    /// # Errors
    ///
    /// When the bytes are not a whole batch of a known version. Nothing is read from a
    /// damaged batch.
    pub fn decode(body: &'a [u8]) -> Result<Self, CodecError> {
        decode::batch(body)
    }

    /// The stamp of an entry without reading the rest of it.
    pub(crate) fn stamp_of(body: &[u8]) -> Option<u64> {
        let (version, rest) = body.split_first()?;
        let stamp_ms = rest.first_chunk().copied().map(u64::from_le_bytes);
        stamp_ms.filter(|_| *version == VERSION)
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// True when there are no commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
}
