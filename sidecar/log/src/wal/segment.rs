//! A segment's file: its name, its header, and how it is prepared.
//!
//! A segment is written full of zeros before it is used, so that a sync of the log never has
//! to wait for the file system to allocate blocks or to record a new size, and so that a full
//! disk shows before anything was accepted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BufMut;

use super::disk::{Disk, DiskFile};
use super::record::{u32_at, u64_at};

/// Bytes of a segment before its first record.
pub(super) const SEGMENT_HEADER_BYTES: u32 = 64;
/// Bytes at the very end of a segment that say where its seal is.
pub(super) const SEGMENT_TRAILER_BYTES: u32 = 16;
/// The largest segment.
pub(crate) const SEGMENT_BYTES_LIMIT: u32 = 1 << 30;

const MAGIC: &[u8; 8] = b"OUTRGWAL";
const VERSION: u32 = 1;
const ZEROING_CHUNK_BYTES: usize = 1 << 20;
/// Zeros are synced in portions of this size, so that no sync of the log waits behind a long
/// one.
const ZEROING_SYNC_BYTES: u64 = 4 << 20;

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// From 1, without gaps.
    pub(super) sequence: u32,
    /// The size of the file.
    pub(super) bytes: u32,
    /// Tells the segments of one node from those of any other.
    pub(super) owner: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(self.sequence);
        out.put_u32_le(self.bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.owner);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.resize(SEGMENT_HEADER_BYTES as usize, 0);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let damaged = || HeaderError::Damaged;
        let covered = bytes.get(..32).ok_or_else(damaged)?;
        let crc = u32_at(bytes, 32).ok_or_else(damaged)?;
        if covered.get(..8) != Some(MAGIC) || crc32c::crc32c(covered) != crc {
            return Err(HeaderError::Damaged);
        }
        match u32_at(bytes, 8).ok_or_else(damaged)? {
            VERSION => {}
            other => return Err(HeaderError::Version(other)),
        }
        Ok(Self {
            sequence: u32_at(bytes, 12).ok_or_else(damaged)?,
            bytes: u32_at(bytes, 16).ok_or_else(damaged)?,
            owner: u64_at(bytes, 24).ok_or_else(damaged)?,
        })
    }
}

/// The file of a segment that is ready for use.
pub(super) fn path_of(directory: &Path, sequence: u32) -> PathBuf {
    directory.join(format!("{sequence:010}.wal"))
}

/// The sequence number in the name of a segment's file.
pub(super) fn sequence_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    name.parse().ok()
}

/// True for a segment whose preparation did not end.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "zeroing")
}

/// Makes a segment: header and zeros, durable under its name. `pace` is told after every
/// portion how many bytes are done, may wait, and stops the work by answering false.
pub(super) fn prepare(
    disk: &dyn Disk,
    directory: &Path,
    header: SegmentHeader,
    mut pace: impl FnMut(u64) -> bool,
) -> io::Result<Arc<dyn DiskFile>> {
    let path = path_of(directory, header.sequence);
    let unfinished = path.with_extension("zeroing");
    let file = disk.create(&unfinished)?;
    let zeros = vec![0; ZEROING_CHUNK_BYTES.min(header.bytes as usize)];
    let bytes = u64::from(header.bytes);
    let mut done = 0;
    while done < bytes {
        let length = (bytes - done).min(zeros.len() as u64);
        file.write_at(zeros.get(..length as usize).unwrap_or(&zeros), done)?;
        done += length;
        if done % ZEROING_SYNC_BYTES == 0 && done < bytes {
            file.sync_data()?;
            if !pace(done) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
    file.write_at(&header.encode(), 0)?;
    file.sync_all()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_directory(directory)?;
    Ok(file)
}

/// Removes what is left of a preparation that failed, to give its space back.
pub(super) fn discard(disk: &dyn Disk, directory: &Path, sequence: u32) -> io::Result<()> {
    let unfinished = path_of(directory, sequence).with_extension("zeroing");
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
