//! What is derived from the log and kept on disk, so that a restart replays only the
//! entries since the last checkpoint.
//!
//! Everything here can be made again from the write-ahead log. The state machine writes it
//! at checkpoints alone, each in one atomic batch together with the id of the entry that it
//! reflects: whatever of the newest batches is lost in a crash is lost together, and
//! replaying from the recorded entry makes it again.

mod expiry;
mod store;
mod table;

pub(crate) use store::{Changes, Store};
pub(crate) use table::Table;

use crate::codec::CodecError;
use crate::queue_index::IndexError;

/// The format that this program writes, and the only one that it reads: what is older is
/// made again from the log.
pub(crate) const FORMAT_VERSION: u8 = 5;

/// Why derived state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DerivedError {
    /// The store failed.
    #[error("derived state: {0}")]
    Store(#[from] fjall::Error),
    /// Files could not be handled.
    #[error("derived state, {path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It was written by an older program.
    #[error("derived state has format {found}, this program reads {known}")]
    OlderFormat {
        /// The format found.
        found: u8,
        /// The one that this program knows.
        known: u8,
    },
    /// It was written by a newer program.
    #[error("derived state has format {found}, this program reads up to {newest}")]
    NewerFormat {
        /// The format found.
        found: u8,
        /// The newest that this program knows.
        newest: u8,
    },
    /// A record cannot be read.
    #[error("derived state, table {table}: {source}")]
    Record {
        /// Which table.
        table: &'static str,
        /// What is wrong with the record.
        source: CodecError,
    },
    /// The queue index is damaged or cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
}
