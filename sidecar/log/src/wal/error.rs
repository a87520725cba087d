use std::io;
use std::path::PathBuf;

use crate::place::Place;

/// Why the write-ahead log cannot be opened.
///
/// Nothing is ever deleted or repaired on a guess: a log that is damaged in a part that was
/// durable stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum WalOpenError {
    /// The file system failed.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written.
    #[error(
        "segment {segment} ({path}) is damaged at byte {offset}: {what}. Nothing was changed. \
         Restore the file from a copy, or replace this node by one with an empty data directory"
    )]
    CorruptSegment {
        /// The segment's sequence number.
        segment: u32,
        /// Its file.
        path: PathBuf,
        /// Where the damage was seen.
        offset: u32,
        /// What is wrong there.
        what: String,
    },
    /// A segment between others is not there.
    #[error("segment {segment} is missing from {directory}; restore the file from a copy")]
    MissingSegment {
        /// The sequence number that is not there.
        segment: u32,
        /// Where it should be.
        directory: PathBuf,
    },
    /// A segment that another node wrote.
    #[error("segment {segment} ({path}) was written by another node or cluster")]
    ForeignSegment {
        /// The segment's sequence number.
        segment: u32,
        /// Its file.
        path: PathBuf,
    },
    /// A segment of a newer format.
    #[error("segment {segment} ({path}) has format version {version}, which is not known")]
    Version {
        /// The segment's sequence number.
        segment: u32,
        /// Its file.
        path: PathBuf,
        /// The version found.
        version: u32,
    },
}

/// Why bytes of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system failed.
    #[error("reading segment {segment} failed: {source}")]
    Io {
        /// The segment's sequence number.
        segment: u32,
        /// What the file system said.
        source: io::Error,
    },
    /// The bytes are not what was written.
    #[error("segment {segment} is damaged at byte {offset}")]
    Corrupt {
        /// The segment's sequence number.
        segment: u32,
        /// Where the damaged record starts.
        offset: u32,
    },
    /// There is no entry, or none any more, with so many bytes at this place.
    #[error("there are no {length} bytes at {place}")]
    NotFound {
        /// The place asked for.
        place: Place,
        /// How many bytes were asked for.
        length: u32,
    },
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Io { source, .. } => source.kind(),
            ReadError::Corrupt { .. } => io::ErrorKind::InvalidData,
            ReadError::NotFound { .. } => io::ErrorKind::NotFound,
        };
        Self::new(kind, error)
    }
}
