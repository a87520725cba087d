//! Entries and their answers, as bytes.

use bytes::Bytes;
use openraft::entry::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};

use super::frame::{
    BLANK, FrameError, MEMBERSHIP, NORMAL, begin, kind, log_id, put_log_id, put_vote, unknown, vote,
};
use crate::codec::{Reader, put_bytes, put_number};
use crate::raft::membership;
use crate::raft::types::{LogId, NodeId, Proposal, TypeConfig};

type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(super) type Request = AppendEntriesRequest<TypeConfig>;
pub(super) type Appended = StreamAppendResult<TypeConfig>;

const APPEND: u8 = 1;
const APPENDED: u8 = 2;
const CONFLICT: u8 = 3;
const HIGHER_VOTE: u8 = 4;
/// As [`APPEND`], and asks for [`RECEIVED`].
const APPEND_ASKING: u8 = 5;
/// No answer to a request: the node has everything up to an entry in memory.
const RECEIVED: u8 = 6;

/// The least that an entry takes: what it is, its term, the length of its body.
const ENTRY_BYTES_MIN: usize = 3;
/// What an entry takes besides its body, at most.
const ENTRY_OVERHEAD_BYTES: usize = 16;
/// What a request takes besides its entries, at most.
const REQUEST_OVERHEAD_BYTES: usize = 96;

/// Entries follow each other, so only the index of the first one is written, as that of the
/// entry before it.
///
/// With `asking` the other node tells as well when it has received them, before it has synced
/// them.
pub(super) fn encode_request(request: &Request, asking: bool) -> Bytes {
    let bodies = request.entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.body.len() + ENTRY_OVERHEAD_BYTES,
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_OVERHEAD_BYTES,
    });
    let mut out = Vec::with_capacity(bodies.sum::<usize>() + REQUEST_OVERHEAD_BYTES);
    out.extend(begin(if asking { APPEND_ASKING } else { APPEND }));
    put_vote(&mut out, &request.vote);
    put_log_id(&mut out, request.prev_log_id);
    put_log_id(&mut out, request.leader_commit);
    put_number(&mut out, request.entries.len() as u64);
    for entry in &request.entries {
        put_entry(&mut out, entry);
    }
    out.into()
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let members;
    let (kind, body): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(proposal) => (NORMAL, &proposal.body),
        EntryPayload::Membership(membership) => {
            members = membership::encode(membership);
            (MEMBERSHIP, &members)
        }
    };
    out.push(kind);
    put_number(out, entry.log_id.leader_id.term);
    put_bytes(out, body);
}

/// Reads what node `from` has sent. Bodies stay where they are in the frame.
pub(in crate::raft) fn decode_request(frame: &Bytes, from: NodeId) -> Result<Request, FrameError> {
    let mut reader = Reader::new(frame);
    let found = kind(&mut reader)?;
    if !matches!(found, APPEND | APPEND_ASKING) {
        return Err(unknown("request", found));
    }
    let vote = vote(&mut reader)?;
    let claimed = vote.leader_id.voted_for;
    if claimed != from || !vote.committed {
        return Err(FrameError::Impostor { claimed, from });
    }
    let prev_log_id = log_id(&mut reader)?;
    let leader_commit = log_id(&mut reader)?;
    let count = reader.count("entries", ENTRY_BYTES_MIN)?;
    let mut entries = Vec::with_capacity(count);
    let mut last = prev_log_id;
    for _ in 0..count {
        let entry = entry(&mut reader, frame, last, vote.leader_id.term)?;
        last = Some(entry.log_id);
        entries.push(entry);
    }
    reader.finish()?;
    Ok(Request {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

fn entry(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    last: Option<LogId>,
    newest_term: u64,
) -> Result<Entry, FrameError> {
    let kind = reader.u8()?;
    let term = reader.number("term")?;
    let length = reader.bytes("body")?.len();
    let end = reader.position();
    let body = frame.slice(end - length..end);
    let index = last.map_or(Some(0), |last| last.index.checked_add(1));
    let oldest_term = last.map_or(0, |last| last.leader_id.term);
    let index = match index {
        Some(index) if (oldest_term..=newest_term).contains(&term) => index,
        index => {
            let index = index.unwrap_or(u64::MAX);
            return Err(FrameError::Order { term, index });
        }
    };
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Proposal::new(body)),
        MEMBERSHIP => EntryPayload::Membership(membership::decode(&body)?),
        kind => return Err(unknown("entry", kind)),
    };
    Ok(Entry {
        log_id: LogId::new_term_index(term, index),
        payload,
    })
}

/// Whether a request asks to be told when it is received.
pub(in crate::raft) fn asks_for_receipt(frame: &Bytes) -> bool {
    kind(&mut Reader::new(frame)).is_ok_and(|kind| kind == APPEND_ASKING)
}

pub(in crate::raft) fn encode_receipt(upto: LogId) -> Bytes {
    let mut out = begin(RECEIVED);
    put_log_id(&mut out, Some(upto));
    out.into()
}

/// Up to where the other node has received everything; `None` when the frame is an answer.
pub(super) fn decode_receipt(frame: &Bytes) -> Result<Option<LogId>, FrameError> {
    let mut reader = Reader::new(frame);
    if kind(&mut reader)? != RECEIVED {
        return Ok(None);
    }
    let upto = log_id(&mut reader)?;
    reader.finish()?;
    Ok(upto)
}

/// What was asked is known to who asked, so success says nothing else.
pub(in crate::raft) fn encode_answer(answer: &Appended) -> Bytes {
    let mut out = match answer {
        Ok(_) => return Bytes::from_static(&[super::frame::VERSION, APPENDED]),
        Err(StreamAppendError::Conflict(_)) => begin(CONFLICT),
        Err(StreamAppendError::HigherVote(_)) => begin(HIGHER_VOTE),
    };
    if let Err(StreamAppendError::HigherVote(vote)) = answer {
        put_vote(&mut out, vote);
    }
    out.into()
}

/// Reads the answer to the entries between `prev` and `last`.
pub(super) fn decode_answer(
    frame: &Bytes,
    prev: Option<LogId>,
    last: Option<LogId>,
) -> Result<Appended, FrameError> {
    let mut reader = Reader::new(frame);
    let answer = match kind(&mut reader)? {
        APPENDED => Ok(last),
        CONFLICT => match prev {
            Some(prev) => Err(StreamAppendError::Conflict(prev)),
            // Nothing can be wrong with what comes first.
            None => return Err(unknown("answer", CONFLICT)),
        },
        HIGHER_VOTE => Err(StreamAppendError::HigherVote(vote(&mut reader)?)),
        found => return Err(unknown("answer", found)),
    };
    reader.finish()?;
    Ok(answer)
}
