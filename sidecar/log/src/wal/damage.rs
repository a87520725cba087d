//! What a read found damaged, remembered for the next start.
//!
//! A start reads only the newest part of the log, so damage elsewhere shows when it is read. A
//! node alone has nothing better than what is left; one of several has its log replaced.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::WalOpenError;
use super::segment::path_of;

/// The note, in the log's directory.
const NOTE: &str = "damaged";

/// Notes which record is damaged.
pub(super) fn note(directory: &Path, segment: u32, offset: u32) -> io::Result<()> {
    let mut file = File::create(directory.join(NOTE))?;
    writeln!(file, "{segment} {offset}")?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Refuses to open a log in which a record was found damaged.
pub(super) fn check(directory: &Path) -> Result<(), WalOpenError> {
    let Ok(text) = std::fs::read_to_string(directory.join(NOTE)) else {
        return Ok(());
    };
    let mut numbers = text.split_whitespace().map(str::parse);
    // A note that is not whole is a note all the same.
    let mut number = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let (segment, offset) = (number(), number());
    Err(WalOpenError::CorruptSegment {
        segment,
        path: path_of(directory, segment),
        offset,
        what: "a read found it damaged before".to_owned(),
    })
}
