//! The Raft group over the write-ahead log.

mod log_store;
mod machine;
mod membership;
mod network;
mod types;

pub(crate) use membership::{decode as decode_membership, encode as encode_membership};
pub(crate) use types::{LogId, Membership, StoredMembership};
