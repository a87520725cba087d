//! The write-ahead log: one per node, shared by all Raft groups of the node.

mod position;

pub use position::Position;
