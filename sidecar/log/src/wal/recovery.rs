//! Opening a log: what is there, what is whole, and what may be cut.
//!
//! Only the end of the newest used segment may be torn, and only behind the last position
//! that is known to have been synced. Everything else must be as it was written, or the log
//! is not opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk, DiskFile};
use super::error::WalOpenError;
use super::group::Group;
use super::index::Index;
use super::record::{Kind, RECORD_HEADER_BYTES, RecordHeader};
use super::scan::{Scan, Scanned};
use super::seal;
use super::segment::{
    self, HeaderError, SEGMENT_HEADER_BYTES, SEGMENT_TRAILER_BYTES, SegmentHeader,
};
use super::state::Plan;
use super::{WalOptions, torn};

/// A segment that was found.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) plan: Plan,
    pub(super) file: Arc<dyn DiskFile>,
}

/// What a log contains.
pub(super) struct Recovered {
    pub(super) index: Index,
    /// The segment to go on with.
    pub(super) active: Found,
    pub(super) next_offset: u32,
    /// Segments after it that are prepared.
    pub(super) prepared: Vec<Found>,
}

/// Reads what is in the directory, and prepares the first segment of a new log.
pub(super) fn recover(
    disk: &dyn Disk,
    directory: &Path,
    quarantine: &Path,
    options: &WalOptions,
) -> Result<Recovered, WalOpenError> {
    let mut segments = find(disk, directory, options)?;
    if segments.is_empty() {
        segments.push(first(disk, directory, options)?);
    }
    let used = count_used(&segments)?;
    let mut prepared = segments.split_off(used.max(1));
    let mut index = Index::default();
    let last = segments.pop();
    for full in &segments {
        load_sealed(full, &mut index)?;
    }
    let last = last.ok_or_else(|| WalOpenError::MissingSegment {
        segment: 1,
        directory: directory.to_owned(),
    })?;
    let scanned = Scan::new(&last).run(&mut index)?;
    index.all_durable();
    let first = segments
        .first()
        .map_or(last.plan.sequence, |first| first.plan.sequence);
    check_begin(&index, first, directory)?;
    for found in &prepared {
        torn::clean(disk, found, SEGMENT_HEADER_BYTES, quarantine)?;
    }
    match scanned {
        Scanned::Open { end } => {
            torn::clean(disk, &last, end, quarantine)?;
            Ok(Recovered {
                index,
                active: last,
                next_offset: end,
                prepared,
            })
        }
        Scanned::Sealed {
            table_offset,
            seal_offset,
        } => {
            index.seal_active(last.plan, table_offset);
            write_trailer(&last, seal_offset)?;
            if let Some(sealed) = index.sealed.get_mut(&last.plan.sequence) {
                sealed.unwritten = None;
            }
            let active = if prepared.is_empty() {
                following(disk, directory, options, last.plan.sequence + 1)?
            } else {
                prepared.remove(0)
            };
            Ok(Recovered {
                index,
                active,
                next_offset: SEGMENT_HEADER_BYTES,
                prepared,
            })
        }
    }
}

/// The oldest segments may have been removed, but not what was not purged before.
fn check_begin(index: &Index, first: u32, directory: &Path) -> Result<(), WalOpenError> {
    let lacks = |(id, group): (&u32, &Group)| {
        group.has_entries() && index.locate(*id, group.begin()).is_none()
    };
    match index.groups.iter().any(lacks) {
        true => Err(WalOpenError::MissingSegment {
            segment: first.saturating_sub(1),
            directory: directory.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Gives an error of the file system its context.
pub(super) fn io<T>(
    path: &Path,
    action: &'static str,
    result: std::io::Result<T>,
) -> Result<T, WalOpenError> {
    result.map_err(|source| WalOpenError::Io {
        action,
        path: path.to_owned(),
        source,
    })
}

pub(super) fn corrupt(found: &Found, offset: u32, what: impl Into<String>) -> WalOpenError {
    WalOpenError::CorruptSegment {
        segment: found.plan.sequence,
        path: found.path.clone(),
        offset,
        what: what.into(),
    }
}

/// What the disk cannot give back is damaged; any other failure may pass.
pub(super) fn readable(
    found: &Found,
    offset: u32,
    read: std::io::Result<()>,
) -> Result<(), WalOpenError> {
    match read {
        Err(error) if disk::is_lost(&error) => Err(corrupt(
            found,
            offset,
            format!("it cannot be read: {error}"),
        )),
        read => io(&found.path, "reading", read),
    }
}

/// All segments in order. Unfinished ones contain nothing and are removed.
fn find(
    disk: &dyn Disk,
    directory: &Path,
    options: &WalOptions,
) -> Result<Vec<Found>, WalOpenError> {
    let mut paths = Vec::new();
    for path in io(directory, "listing", disk.list(directory))? {
        if segment::is_unfinished(&path) {
            io(&path, "removing", disk.remove(&path))?;
        } else if let Some(sequence) = segment::sequence_of(&path) {
            paths.push((sequence, path));
        }
    }
    paths.sort();
    let first = paths.first().map_or(1, |(sequence, _)| *sequence);
    let mut found = Vec::new();
    for (expected, (sequence, path)) in (first..).zip(paths) {
        if sequence != expected {
            return Err(WalOpenError::MissingSegment {
                segment: expected,
                directory: directory.to_owned(),
            });
        }
        found.push(open(disk, sequence, path, options)?);
    }
    Ok(found)
}

fn open(
    disk: &dyn Disk,
    sequence: u32,
    path: PathBuf,
    options: &WalOptions,
) -> Result<Found, WalOpenError> {
    let file = io(&path, "opening", disk.open(&path))?;
    let length = io(&path, "measuring", file.length())?;
    let mut found = Found {
        path,
        plan: Plan { sequence, bytes: 0 },
        file,
    };
    let damaged = |found: &Found| corrupt(found, 0, "the segment's header");
    if length < u64::from(SEGMENT_HEADER_BYTES) {
        return Err(damaged(&found));
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    readable(&found, 0, found.file.read_at(&mut bytes, 0))?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(HeaderError::Damaged) => return Err(damaged(&found)),
        Err(HeaderError::Version(version)) => {
            return Err(WalOpenError::Version {
                segment: sequence,
                path: found.path,
                version,
            });
        }
    };
    if header.owner != options.owner {
        return Err(WalOpenError::ForeignSegment {
            segment: sequence,
            path: found.path,
        });
    }
    if header.sequence != sequence || u64::from(header.bytes) != length {
        return Err(damaged(&found));
    }
    found.plan.bytes = header.bytes;
    Ok(found)
}

fn first(disk: &dyn Disk, directory: &Path, options: &WalOptions) -> Result<Found, WalOpenError> {
    following(disk, directory, options, 1)
}

fn following(
    disk: &dyn Disk,
    directory: &Path,
    options: &WalOptions,
    sequence: u32,
) -> Result<Found, WalOpenError> {
    let bytes = options.segment_bytes_of(sequence);
    let header = SegmentHeader {
        sequence,
        bytes,
        owner: options.owner,
    };
    let prepared = segment::prepare(disk, directory, header, |_| true);
    let file = io(directory, "preparing a segment in", prepared)?;
    Ok(Found {
        path: segment::path_of(directory, sequence),
        plan: Plan { sequence, bytes },
        file,
    })
}

/// How many segments have been written to. The first record of a segment is written when the
/// one before is durable, so all of them but the last are full.
fn count_used(segments: &[Found]) -> Result<usize, WalOpenError> {
    let mut used = 0;
    for (place, found) in segments.iter().enumerate() {
        if starts_with_a_record(found)? {
            used = place + 1;
        }
    }
    Ok(used)
}

fn starts_with_a_record(found: &Found) -> Result<bool, WalOpenError> {
    let mut bytes = vec![0; RECORD_HEADER_BYTES as usize];
    let offset = SEGMENT_HEADER_BYTES;
    let read = found.file.read_at(&mut bytes, u64::from(offset));
    readable(found, offset, read)?;
    let Some(header) = RecordHeader::decode(&bytes) else {
        return Ok(false);
    };
    if u64::from(offset) + header.stored_bytes() > u64::from(found.plan.bytes) {
        return Ok(false);
    }
    bytes.resize(header.stored_bytes() as usize, 0);
    let read = found.file.read_at(&mut bytes, u64::from(offset));
    readable(found, offset, read)?;
    Ok(header.verify(&bytes, found.plan.sequence, offset))
}

/// The seal may have reached the disk without the trailer behind it.
fn write_trailer(found: &Found, seal_offset: u32) -> Result<(), WalOpenError> {
    let bytes = found.plan.bytes;
    let trailer = seal::encode_trailer(found.plan.sequence, bytes, seal_offset);
    let offset = u64::from(bytes - SEGMENT_TRAILER_BYTES);
    let written = found.file.write_at(&trailer, offset);
    io(&found.path, "writing", written)?;
    io(&found.path, "syncing", found.file.sync_data())
}

/// Takes over the summary of a full segment without reading through it.
fn load_sealed(found: &Found, index: &mut Index) -> Result<(), WalOpenError> {
    let bytes = found.plan.bytes;
    let trailer_offset = bytes.saturating_sub(SEGMENT_TRAILER_BYTES);
    let mut trailer = [0; SEGMENT_TRAILER_BYTES as usize];
    let read = found.file.read_at(&mut trailer, u64::from(trailer_offset));
    readable(found, trailer_offset, read)?;
    let seal_offset = seal::decode_trailer(found.plan.sequence, bytes, &trailer)
        .ok_or_else(|| corrupt(found, trailer_offset, "the trailer of a full segment"))?;
    let damaged = || corrupt(found, seal_offset, "the seal of a full segment");
    let left = trailer_offset.saturating_sub(seal_offset);
    let mut record = vec![0; left as usize];
    let read = found.file.read_at(&mut record, u64::from(seal_offset));
    readable(found, seal_offset, read)?;
    let header = RecordHeader::decode(&record)
        .filter(|header| header.kind == Kind::Seal)
        .filter(|header| header.verify(&record, found.plan.sequence, seal_offset))
        .ok_or_else(damaged)?;
    let start = RECORD_HEADER_BYTES as usize;
    let body = record.get(start..start + header.length as usize);
    let seal = seal::decode_seal(body.unwrap_or_default()).map_err(|_| damaged())?;
    index.load(found.plan, seal);
    Ok(())
}
