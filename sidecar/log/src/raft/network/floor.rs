//! Floor checkpoints on their way to another node, as bytes: how much there is, the file in
//! chunks, and the answer when it is in use.

use bytes::Bytes;
use openraft::Vote;

use super::frame::{FrameError, begin, kind, put_vote, unknown, vote};
use crate::codec::{Reader, put_bytes, put_number};
use crate::raft::types::{LeaderId, NodeId};

const FLOOR: u8 = 64;
const CHUNK: u8 = 65;
const INSTALLED: u8 = 66;

/// Bytes of the file in one frame.
pub(in crate::raft) const CHUNK_BYTES: usize = 1 << 20;

/// What a stream with a floor checkpoint begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::raft) struct FloorBegin {
    /// The leader that sends it.
    pub(in crate::raft) vote: Vote<LeaderId>,
    /// How many bytes the file has.
    pub(in crate::raft) bytes: u64,
}

impl FloorBegin {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = begin(FLOOR);
        put_vote(&mut out, &self.vote);
        put_number(&mut out, self.bytes);
        out.into()
    }

    /// Reads what node `from` has sent.
    pub(in crate::raft) fn decode(frame: &Bytes, from: NodeId) -> Result<Self, FrameError> {
        let mut reader = Reader::new(frame);
        let found = kind(&mut reader)?;
        if found != FLOOR {
            return Err(unknown("floor checkpoint", found));
        }
        let vote = vote(&mut reader)?;
        let claimed = vote.leader_id.voted_for;
        if claimed != from || !vote.committed {
            return Err(FrameError::Impostor { claimed, from });
        }
        let bytes = reader.number("bytes")?;
        reader.finish()?;
        Ok(Self { vote, bytes })
    }
}

pub(super) fn encode_chunk(offset: u64, chunk: &[u8]) -> Bytes {
    let mut out = begin(CHUNK);
    out.reserve(chunk.len() + 20);
    put_number(&mut out, offset);
    put_bytes(&mut out, chunk);
    out.into()
}

/// Where a chunk belongs, and what is in it.
pub(in crate::raft) fn decode_chunk(frame: &Bytes) -> Result<(u64, &[u8]), FrameError> {
    let mut reader = Reader::new(frame);
    let found = kind(&mut reader)?;
    if found != CHUNK {
        return Err(unknown("chunk", found));
    }
    let offset = reader.number("offset")?;
    let chunk = reader.bytes("chunk")?;
    reader.finish()?;
    Ok((offset, chunk))
}

/// The answer: the floor checkpoint is in use, or a newer leader is known.
pub(in crate::raft) fn encode_installed(known: &Vote<LeaderId>) -> Bytes {
    let mut out = begin(INSTALLED);
    put_vote(&mut out, known);
    out.into()
}

pub(super) fn decode_installed(frame: &Bytes) -> Result<Vote<LeaderId>, FrameError> {
    let mut reader = Reader::new(frame);
    let found = kind(&mut reader)?;
    if found != INSTALLED {
        return Err(unknown("answer", found));
    }
    let known = vote(&mut reader)?;
    reader.finish()?;
    Ok(known)
}
