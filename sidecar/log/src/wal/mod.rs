//! The write-ahead log: one per node, shared by all Raft groups of the node.
//!
//! Records are appended to segments that were filled with zeros ahead. One thread writes: it
//! takes all that has gathered while it was syncing, writes it as one batch, syncs once, and
//! then reports to everybody whose records were in the batch, in order.

mod damage;
pub(crate) mod disk;
mod error;
mod group;
mod index;
#[cfg(feature = "simulation")]
mod inline;
mod log;
mod options;
mod position;
mod preparer;
mod reader;
mod record;
mod recovery;
mod runs;
mod scan;
mod seal;
mod segment;
mod shared;
mod state;
mod tail_cache;
#[cfg(test)]
pub(crate) mod tests;
mod torn;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use disk::OsDisk;
pub use error::{ReadError, WalOpenError};
pub(crate) use group::{EntryId, Vote};
pub(crate) use index::FullSegment;
#[cfg(feature = "simulation")]
pub(crate) use inline::Written;
pub(crate) use log::{NewEntry, Wal};
pub(crate) use options::WalOptions;
use position::Position;
pub(crate) use reader::Reader;
pub(crate) use record::Kind;
pub(crate) use segment::SEGMENT_BYTES_LIMIT;
pub(crate) use shared::OnFatal;
pub(crate) use state::Flushed;
pub(crate) use tail_cache::StoredEntry;

/// The largest entry, as its body.
pub(crate) const RECORD_BYTES_MAX: u64 = writer::BATCH_BYTES_MAX - (64 << 10);

/// Locks; a panic elsewhere while the lock was held does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
