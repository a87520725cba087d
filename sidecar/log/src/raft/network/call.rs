//! Questions that have one answer each, as bytes.

use bytes::Bytes;
use openraft::raft::{
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::frame::{
    FrameError, begin, flag, kind, log_id, put_flag, put_log_id, put_vote, unknown, vote,
};
use crate::codec::{Reader, put_number};
use crate::raft::types::{LogId, NodeId, TypeConfig};

const VOTE: u8 = 16;
const PRE_VOTE: u8 = 17;
const TRANSFER: u8 = 18;
const READ_INDEX: u8 = 19;
const VOTED: u8 = 32;
const TRANSFERRED: u8 = 33;
const VOTE_CHANGED: u8 = 34;
const NOT_FLUSHED: u8 = 35;
const READ_AT: u8 = 36;
const NOT_LEADER: u8 = 37;

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::raft) enum Question {
    /// To vote for it.
    Vote(VoteRequest<TypeConfig>),
    /// Whether it would.
    PreVote(VoteRequest<TypeConfig>),
    /// To take leadership over.
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// How far a read has to wait.
    ReadIndex,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::raft) enum Answer {
    Vote(VoteResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
    /// Everything that was acknowledged before is up to here.
    ReadIndex(LogId),
    /// The node does not lead.
    NotLeader(Option<NodeId>),
}

impl Question {
    pub(super) fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Self::Vote(request) | Self::PreVote(request) => {
                let voting = matches!(self, Self::Vote(_));
                out = begin(if voting { VOTE } else { PRE_VOTE });
                put_vote(&mut out, &request.vote);
                put_log_id(&mut out, request.last_log_id);
                put_flag(&mut out, request.leadership_transfer);
            }
            Self::Transfer(request) => {
                out = begin(TRANSFER);
                put_vote(&mut out, request.from_leader());
                put_number(&mut out, *request.to_node_id());
                put_log_id(&mut out, request.last_log_id().copied());
            }
            Self::ReadIndex => out = begin(READ_INDEX),
        }
        out.into()
    }

    /// Reads what node `from` has sent.
    pub(in crate::raft) fn decode(frame: &Bytes, from: NodeId) -> Result<Self, FrameError> {
        let mut reader = Reader::new(frame);
        let question = match kind(&mut reader)? {
            found @ (VOTE | PRE_VOTE) => {
                let request: VoteRequest<TypeConfig> = VoteRequest {
                    vote: vote(&mut reader)?,
                    last_log_id: log_id(&mut reader)?,
                    leadership_transfer: flag(&mut reader, "transfer")?,
                };
                speaks_for(request.vote.leader_id.voted_for, from)?;
                match found {
                    VOTE => Self::Vote(request),
                    _ => Self::PreVote(request),
                }
            }
            TRANSFER => {
                let vote = vote(&mut reader)?;
                speaks_for(vote.leader_id.voted_for, from)?;
                let to = reader.number("node")?;
                let last = log_id(&mut reader)?;
                Self::Transfer(TransferLeaderRequest::new(vote, to, last))
            }
            READ_INDEX => Self::ReadIndex,
            found => return Err(unknown("question", found)),
        };
        reader.finish()?;
        Ok(question)
    }
}

impl Answer {
    pub(in crate::raft) fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Self::Vote(response) => {
                out = begin(VOTED);
                put_vote(&mut out, &response.vote);
                put_flag(&mut out, response.vote_granted);
                put_log_id(&mut out, response.last_log_id);
            }
            Self::Transfer(Ok(())) => out = begin(TRANSFERRED),
            Self::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual })) => {
                out = begin(VOTE_CHANGED);
                put_vote(&mut out, expected);
                put_vote(&mut out, actual);
            }
            Self::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual })) => {
                out = begin(NOT_FLUSHED);
                put_log_id(&mut out, *expected);
                put_log_id(&mut out, *actual);
            }
            Self::ReadIndex(at) => {
                out = begin(READ_AT);
                put_log_id(&mut out, Some(*at));
            }
            Self::NotLeader(leader) => {
                out = begin(NOT_LEADER);
                put_flag(&mut out, leader.is_some());
                put_number(&mut out, leader.unwrap_or(0));
            }
        }
        out.into()
    }

    pub(super) fn decode(frame: &Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(frame);
        let answer = match kind(&mut reader)? {
            VOTED => Self::Vote(VoteResponse {
                vote: vote(&mut reader)?,
                vote_granted: flag(&mut reader, "granted")?,
                last_log_id: log_id(&mut reader)?,
            }),
            TRANSFERRED => Self::Transfer(Ok(())),
            VOTE_CHANGED => Self::Transfer(Err(TransferLeaderError::VoteChanged {
                expected: vote(&mut reader)?,
                actual: vote(&mut reader)?,
            })),
            NOT_FLUSHED => Self::Transfer(Err(TransferLeaderError::LogNotFlushed {
                expected: log_id(&mut reader)?,
                actual: log_id(&mut reader)?,
            })),
            READ_AT => match log_id(&mut reader)? {
                Some(at) => Self::ReadIndex(at),
                None => return Err(unknown("log id", 0)),
            },
            NOT_LEADER => {
                let known = flag(&mut reader, "leader")?;
                let leader = reader.number("node")?;
                Self::NotLeader(known.then_some(leader))
            }
            found => return Err(unknown("answer", found)),
        };
        reader.finish()?;
        Ok(answer)
    }
}

fn speaks_for(claimed: NodeId, from: NodeId) -> Result<(), FrameError> {
    match claimed == from {
        true => Ok(()),
        false => Err(FrameError::Impostor { claimed, from }),
    }
}
