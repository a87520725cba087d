//! The Raft group over the write-ahead log.

mod membership;
mod types;

pub(crate) use membership::{decode as decode_membership, encode as encode_membership};
pub(crate) use types::{LogId, Membership, StoredMembership};
