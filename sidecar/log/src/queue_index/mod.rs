//! Where the messages of each queue stand in the log.
//!
//! A queue is a row of fixed-width [`Entry`]s. The newest ones, since the last checkpoint,
//! are in memory; the rest is in files of [`ENTRIES_PER_FILE`] entries. The files are
//! derived: replaying the write-ahead log makes them again. Only what a checkpoint
//! recorded counts; whatever a crash left behind it is cut off on opening.

mod entry;
mod files;
mod minima;
mod queue;

pub use entry::IndexEntry;
pub(crate) use entry::{At, ENTRY_BYTES, Entry};
pub(crate) use files::Files;
pub(crate) use queue::Queue;

/// Entries in one file (40 MiB).
pub(crate) const ENTRIES_PER_FILE: u64 = 1 << 20;

/// Files kept open for reading.
const OPEN_FILES_MAX: usize = 128;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Reading or writing failed.
    #[error("queue index file {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A checkpoint recorded more entries than there are.
    #[error("queue index file {file} has {found_bytes} bytes, the checkpoint has {recorded_bytes}")]
    Short {
        /// The file.
        file: String,
        /// Its length.
        found_bytes: u64,
        /// The length that it must have at least.
        recorded_bytes: u64,
    },
    /// An entry is not what was written.
    #[error(
        "queue index file {file} is damaged at entry {offset}; derived state is made again from \
         the log at the next start"
    )]
    Damaged {
        /// The file.
        file: String,
        /// The offset in the queue whose entry it is.
        offset: u64,
    },
    /// An earlier run has found damage.
    #[error("queue index: {note}")]
    Noted {
        /// What it found.
        note: String,
    },
}
