//! What lies behind the last whole record: nothing, the rest of a batch that was never
//! synced, or damage.

use std::path::Path;

use super::disk::Disk;
use super::error::WalOpenError;
use super::record::{RECORD_ALIGNMENT_BYTES, RECORD_HEADER_BYTES, RecordHeader};
use super::recovery::{Found, corrupt, io, readable};
use super::scan::Scan;
use super::seal::{TABLE_ENTRIES_MAX, reserved_bytes};
use super::segment::SEGMENT_TRAILER_BYTES;
use super::writer::BATCH_BYTES_MAX;

/// Groups for whose summaries a segment's end has room in the search.
const GROUPS_SEARCHED: usize = 1 << 12;
const CHUNK_BYTES: u32 = 1 << 20;

/// Makes everything from `end` on zeros, unless it shows that `end` is in the middle of what
/// was durable. What is cut is kept in the quarantine.
pub(super) fn clean(
    disk: &dyn Disk,
    found: &Found,
    end: u32,
    quarantine: &Path,
) -> Result<(), WalOpenError> {
    let limit = found.plan.bytes - SEGMENT_TRAILER_BYTES;
    let reach = BATCH_BYTES_MAX + reserved_bytes(TABLE_ENTRIES_MAX, GROUPS_SEARCHED);
    let stop = (u64::from(end) + reach).min(u64::from(limit)) as u32;
    let dirty_end = search(found, end, stop)?;
    let trailer = read(found, limit, SEGMENT_TRAILER_BYTES)?;
    let trailer_dirty = trailer.iter().any(|byte| *byte != 0);
    if let Some(dirty_end) = dirty_end {
        set_aside(disk, found, end, dirty_end, quarantine)?;
        zero(found, end, dirty_end)?;
    }
    if trailer_dirty {
        zero(found, limit, found.plan.bytes)?;
    }
    // What was read may never have been synced, and will be counted as durable from now on.
    io(&found.path, "syncing", found.file.sync_data())
}

/// Where the bytes behind `end` that are not zero end. It is damage when among them a batch
/// begins, because everything before a batch was durable when the batch was written.
fn search(found: &Found, end: u32, stop: u32) -> Result<Option<u32>, WalOpenError> {
    let mut dirty_end = None;
    let mut offset = end;
    while offset < stop {
        let length = CHUNK_BYTES.min(stop - offset);
        let chunk = read(found, offset, length)?;
        for (place, word) in chunk.chunks(RECORD_ALIGNMENT_BYTES as usize).enumerate() {
            if word.iter().all(|byte| *byte == 0) {
                continue;
            }
            let at = offset + place as u32 * RECORD_ALIGNMENT_BYTES;
            dirty_end = Some(at + word.len() as u32);
            let known = chunk.get(place * RECORD_ALIGNMENT_BYTES as usize..);
            if at > end && begins_a_batch(found, at, known.unwrap_or_default())? {
                let what = format!("a later batch begins at byte {at}, so this was durable");
                return Err(corrupt(found, end, what));
            }
        }
        offset += length;
    }
    Ok(dirty_end)
}

/// True when the first record of a batch starts here; `known` are the bytes from here on, as
/// far as they have been read.
fn begins_a_batch(found: &Found, offset: u32, known: &[u8]) -> Result<bool, WalOpenError> {
    if offset + RECORD_HEADER_BYTES > found.plan.bytes - SEGMENT_TRAILER_BYTES {
        return Ok(false);
    }
    // Nearly all words of a torn batch are not the start of a record: look before reading.
    let candidate = if known.len() < RECORD_HEADER_BYTES as usize {
        RecordHeader::decode(&read(found, offset, RECORD_HEADER_BYTES)?)
    } else {
        RecordHeader::decode(known)
    };
    if !candidate.is_some_and(|header| header.first_in_batch) {
        return Ok(false);
    }
    Ok(Scan::new(found).record_at(offset)?.is_some())
}

fn set_aside(
    disk: &dyn Disk,
    found: &Found,
    start: u32,
    end: u32,
    quarantine: &Path,
) -> Result<(), WalOpenError> {
    let bytes = read(found, start, end - start)?;
    let name = format!("{:010}-{start}.torn", found.plan.sequence);
    let path = quarantine.join(name);
    let created = std::fs::create_dir_all(quarantine);
    io(quarantine, "creating", created)?;
    let file = io(&path, "creating", disk.create(&path))?;
    io(&path, "writing", file.write_at(&bytes, 0))?;
    io(&path, "syncing", file.sync_all())?;
    for directory in [Some(quarantine), quarantine.parent()]
        .into_iter()
        .flatten()
    {
        io(directory, "syncing", disk.sync_directory(directory))?;
    }
    tracing::warn!(segment = found.plan.sequence, offset = start, bytes = bytes.len(),
        kept = %path.display(), "cut a batch that was never synced off the end of the log");
    Ok(())
}

fn zero(found: &Found, start: u32, end: u32) -> Result<(), WalOpenError> {
    let zeros = vec![0; CHUNK_BYTES.min(end - start) as usize];
    let mut offset = start;
    while offset < end {
        let length = (end - offset).min(CHUNK_BYTES);
        let portion = zeros.get(..length as usize).unwrap_or(&zeros);
        let written = found.file.write_at(portion, u64::from(offset));
        io(&found.path, "writing", written)?;
        offset += length;
    }
    Ok(())
}

fn read(found: &Found, offset: u32, length: u32) -> Result<Vec<u8>, WalOpenError> {
    let mut bytes = vec![0; length as usize];
    let read = found.file.read_at(&mut bytes, u64::from(offset));
    readable(found, offset, read)?;
    Ok(bytes)
}
