//! The Raft group over the write-ahead log.

mod beginning;
mod checkpointer;
mod control;
mod disk;
mod error;
mod floor;
mod leadership;
mod limits;
mod log_store;
mod machine;
mod membership;
mod network;
mod node;
mod proposer;
mod receipts;
mod receive;
mod retention;
mod runtime;
mod serve;
mod telling;
#[cfg(test)]
mod tests;
mod timer;
mod timing;
mod types;

pub(crate) use beginning::settle;
pub(crate) use checkpointer::CheckpointLimits;
pub(crate) use disk::{DiskLimits, DiskWatch};
pub use error::NodeError;
pub(crate) use membership::{decode as decode_membership, encode as encode_membership};
pub(crate) use network::FRAME_BYTES_MAX;
pub(crate) use node::{Node, NodeOptions};
pub(crate) use retention::RetentionLimits;
pub use runtime::seed_elections;
pub(crate) use timing::Timing;
pub(crate) use types::{LogId, Membership, StoredMembership};
