//! The log store: a write-ahead log, the Raft group that orders it, and the state derived
//! from it.
//!
//! Everything that must survive is a command in the log. Derived state (queue index,
//! transactions, consumer groups, guards) follows from the log alone and is rebuilt from it.

#![allow(dead_code, unused_imports)]

mod apply;
mod codec;
pub mod command;
mod raft;
mod wal;

pub use wal::{Position, ReadError, Reader, WalOpenError};
