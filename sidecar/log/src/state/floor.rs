//! A whole state in a file, and back.

use std::io;
use std::path::{Path, PathBuf};

use outrigger_core::lease::Event;

use super::meta::Meta;
use super::record;
use super::{StateError, set_aside};
use crate::codec::{CodecError, Reader};
use crate::command::TopicId;
use crate::derived::{Changes, DerivedError, Store, Table};
use crate::floor::{FloorFile, FloorHeader, NewFloor};

/// Verdicts that are written at once.
const VERDICTS_AT_ONCE: usize = 100_000;

/// Writes the whole state of a checkpoint that has just been committed.
pub(super) fn export(store: &Store, meta: &Meta, new: NewFloor) -> io::Result<()> {
    let applied = meta.applied.ok_or(io::ErrorKind::InvalidInput)?;
    let header = FloorHeader {
        applied,
        membership: meta.membership.clone(),
    };
    let mut writer = new.begin(&header)?;
    let mut failed = None;
    let all = store.for_each(|table, key, bytes| {
        if failed.is_none() && counts(table, bytes, meta)? {
            failed = writer.record(key, bytes).err();
        }
        Ok(())
    });
    all.map_err(io::Error::other)?;
    failed.map_or(Ok(()), Err)?;
    writer.finish()
}

/// What has expired is left out, and what a crash left of entries that come later.
fn counts(table: Table, bytes: &[u8], meta: &Meta) -> Result<bool, DerivedError> {
    if !matches!(table, Table::Resolved | Table::Guard | Table::EndedSaga) {
        return Ok(true);
    }
    let expires_at_ms = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
    if expires_at_ms <= meta.stamp_ms {
        return Ok(false);
    }
    let applied = meta.applied.map_or(0, |applied| applied.index);
    Ok(table != Table::Resolved || record::read_resolved(bytes)?.index <= applied)
}

/// Where an imported state is until it is installed.
pub(super) fn imported(directory: &Path) -> PathBuf {
    directory.with_extension("imported")
}

/// Makes a state on disk out of a file. Queues begin where they end: messages before have
/// expired by the time that the file is used.
pub(super) fn import(directory: &Path, file: &FloorFile) -> io::Result<()> {
    let imported = imported(directory);
    if imported.try_exists()? {
        std::fs::remove_dir_all(&imported)?;
    }
    std::fs::create_dir_all(&imported)?;
    file.verify()?;
    let store = Store::open(&imported.join("store")).map_err(io::Error::other)?;
    let mut changes = Changes::default();
    let mut first_offsets = std::collections::BTreeMap::new();
    let mut stamp_ms = 0;
    file.records(|key, bytes| {
        let (table, id) = Table::of(&key).ok_or_else(|| invalid("an unknown table"))?;
        let bytes = match table {
            Table::Meta => {
                stamp_ms = Meta::read(&bytes).map_err(io::Error::other)?.stamp_ms;
                bytes
            }
            Table::Topic => {
                let topic = topic_id(id).map_err(io::Error::other)?;
                let mut topic = record::read_topic(topic, &bytes).map_err(io::Error::other)?;
                for ((first, next), queue) in topic.offsets.iter_mut().zip(0_u32..) {
                    *first = *next;
                    first_offsets.insert((topic.topic.id, queue), *first);
                }
                record::write_topic(&topic)
            }
            Table::Progress => {
                let (queue, mut progress) =
                    record::read_progress(id, &bytes).map_err(io::Error::other)?;
                let first = first_offsets.get(&(queue.topic, queue.queue)).copied();
                if let Some(last) = first.unwrap_or(0).checked_sub(1) {
                    progress.apply(&Event::Acked { first: 0, last });
                }
                progress.encode().to_vec()
            }
            _ => bytes,
        };
        changes.put_whole(key, bytes);
        if changes.verdicts() >= VERDICTS_AT_ONCE {
            let verdicts = changes.split_verdicts();
            store.commit(verdicts, 0).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    store.commit(changes, stamp_ms).map_err(io::Error::other)
}

/// Takes the imported state in the place of the one that is there.
pub(super) fn swap(directory: &Path) -> Result<(), StateError> {
    set_aside(directory)?;
    let moved = std::fs::rename(imported(directory), directory);
    moved.map_err(|source| DerivedError::Io {
        path: directory.display().to_string(),
        source,
    })?;
    Ok(())
}

fn topic_id(key: &[u8]) -> Result<TopicId, CodecError> {
    let mut reader = Reader::new(key);
    let id = reader.u32()?.swap_bytes();
    reader.finish()?;
    Ok(TopicId(id))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
