//! What nodes say to each other, as bytes.
//!
//! Every frame begins with the version and with what it is. Reading trusts nothing: counts and
//! lengths are compared with what is there, and numbers with what they must be.

use openraft::Vote;

use crate::codec::{CodecError, Reader, put_number};
use crate::raft::membership;
use crate::raft::types::{LeaderId, LogId, NodeId};
use crate::wal::RECORD_BYTES_MAX;

/// The version of the frames, their first byte.
pub(super) const VERSION: u8 = 1;
/// Entries that are sent together, in bytes, unless a single one is larger.
pub(crate) const APPEND_BYTES_MAX: usize = 1 << 20;
/// The largest frame.
pub(crate) const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX as usize + (128 << 10);

/// A frame that cannot be understood, or that its sender must not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The bytes are not what they should be.
    #[error("the frame cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// A membership cannot be read.
    #[error("the membership in the frame cannot be read: {0}")]
    Membership(#[from] membership::MembershipError),
    /// Entries that do not follow each other.
    #[error("an entry of term {term} at index {index} does not belong where the frame has it")]
    Order {
        /// Its term.
        term: u64,
        /// Its index.
        index: u64,
    },
    /// A frame of another node.
    #[error("the frame speaks for node {claimed}, it came from node {from}")]
    Impostor {
        /// For whom it speaks.
        claimed: NodeId,
        /// Who sent it.
        from: NodeId,
    },
}

/// Begins a frame.
pub(super) fn begin(kind: u8) -> Vec<u8> {
    vec![VERSION, kind]
}

/// Reads how a frame begins: what it is.
pub(super) fn kind(reader: &mut Reader<'_>) -> Result<u8, FrameError> {
    let found = reader.u8()?;
    if found != VERSION {
        let newest = VERSION;
        return Err(CodecError::Version { found, newest }.into());
    }
    Ok(reader.u8()?)
}

pub(super) fn unknown(field: &'static str, value: u8) -> FrameError {
    let value = u64::from(value);
    CodecError::Unknown { field, value }.into()
}

pub(super) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

pub(super) fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, FrameError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(unknown(field, value)),
    }
}

pub(super) fn put_vote(out: &mut Vec<u8>, vote: &Vote<LeaderId>) {
    put_number(out, vote.leader_id.term);
    put_number(out, vote.leader_id.voted_for);
    put_flag(out, vote.committed);
}

pub(super) fn vote(reader: &mut Reader<'_>) -> Result<Vote<LeaderId>, FrameError> {
    let leader_id = LeaderId {
        term: reader.number("term")?,
        voted_for: reader.number("node")?,
    };
    let committed = flag(reader, "committed")?;
    Ok(Vote {
        leader_id,
        committed,
    })
}

pub(super) fn put_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    put_flag(out, id.is_some());
    if let Some(id) = id {
        put_number(out, id.leader_id.term);
        put_number(out, id.index);
    }
}

pub(super) fn log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, FrameError> {
    if !flag(reader, "log id")? {
        return Ok(None);
    }
    let term = reader.number("term")?;
    let index = reader.number("index")?;
    Ok(Some(LogId::new_term_index(term, index)))
}

/// Which payload an entry has.
pub(super) const BLANK: u8 = 0;
pub(super) const NORMAL: u8 = 1;
pub(super) const MEMBERSHIP: u8 = 2;
