use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::disk::{self, DiskFile};
use super::error::ReadError;
use super::group::Slot;
use super::index::Location;
use super::record::{Kind, RECORD_HEADER_BYTES, RecordHeader};
use super::seal::{self, Table};
use super::segment;
use super::shared::Shared;
use super::tail_cache::StoredEntry;
use super::{Position, lock};
use crate::place::Place;

/// Files that are kept open for reading.
const OPEN_FILES_MAX: usize = 64;
/// Tables of full segments that are kept in memory, 4 MiB each at most.
const TABLES_MAX: usize = 2;
/// Entries read from files that are kept, because what follows is likely to be read next.
const COLD_ENTRIES_MAX: usize = 8;
const COLD_BYTES_MAX: usize = 8 << 20;

/// Reads from the write-ahead log: from memory what is recent, from files what is not.
///
/// Entries read from files are verified as a whole, whatever part of them was asked for.
/// Reading may block on the disk.
#[derive(Clone)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    cold: Arc<Cold>,
}

/// What was read from files.
#[derive(Default)]
struct Cold {
    files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
    tables: Mutex<VecDeque<(u32, Arc<Table>)>>,
    /// With their groups.
    entries: Mutex<VecDeque<(u32, StoredEntry)>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            cold: Arc::default(),
        }
    }

    /// The bytes at a place, which are a part of one entry's body.
    pub(crate) fn read(&self, group: u32, place: Place, length: u32) -> Result<Bytes, ReadError> {
        let not_found = ReadError::NotFound { place, length };
        if let Some(entry) = lock(&self.shared.tail).entry(group, place.index) {
            return entry.part(place.offset, length).ok_or(not_found);
        }
        let read_before = lock(&self.cold.entries)
            .iter()
            .find(|(of, entry)| *of == group && entry.index == place.index)
            .map(|(_, entry)| entry.part(place.offset, length));
        if let Some(part) = read_before {
            return part.ok_or(not_found);
        }
        let Some(entry) = self.cold_entry(group, place.index)? else {
            return Err(not_found);
        };
        let part = entry.part(place.offset, length).ok_or(not_found)?;
        self.keep(group, entry);
        Ok(part)
    }

    /// What [`Reader::read`] finds for each, in the same order.
    ///
    /// # Errors
    ///
    /// Those of the first part that cannot be read.
    pub(crate) fn read_all(
        &self,
        group: u32,
        parts: impl IntoIterator<Item = (Place, u32)>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let parts = parts.into_iter();
        parts
            .map(|(place, length)| self.read(group, place, length))
            .collect()
    }

    /// An entry by index; none when the group has none, or none any more.
    pub(crate) fn entry(&self, group: u32, index: u64) -> Result<Option<StoredEntry>, ReadError> {
        if let Some(entry) = self.recent(group, index) {
            return Ok(Some(entry));
        }
        self.cold_entry(group, index)
    }

    /// An entry from its file.
    fn cold_entry(&self, group: u32, index: u64) -> Result<Option<StoredEntry>, ReadError> {
        let found = self.find_cold(group, index);
        let Err(error) = found else {
            return found;
        };
        // Its segment may have been removed since it was found there.
        let located = lock(&self.shared.state).index.locate(group, index);
        if located.is_none() {
            return Ok(None);
        }
        match &error {
            ReadError::Corrupt { segment, offset } => self.shared.damaged(*segment, *offset),
            ReadError::Io { segment, source } if disk::is_lost(source) => {
                self.shared.damaged(*segment, 0);
            }
            ReadError::Io { .. } | ReadError::NotFound { .. } => {}
        }
        Err(error)
    }

    fn find_cold(&self, group: u32, index: u64) -> Result<Option<StoredEntry>, ReadError> {
        let (location, active) = {
            let state = lock(&self.shared.state);
            (state.index.locate(group, index), state.active.sequence)
        };
        let (segment, slot) = match location {
            None => return Ok(None),
            Some(Location::Active(slot)) => (active, slot),
            Some(Location::Sealed(segment)) => {
                let table = self.table(segment)?;
                let slot = table.get(&group).and_then(|table| table.slot(index));
                let offset = 0;
                (segment, slot.ok_or(ReadError::Corrupt { segment, offset })?)
            }
        };
        let entry = self.read_slot(segment, slot, index)?;
        Ok(Some(entry))
    }

    /// An entry by index, when it is among the newest.
    pub(crate) fn recent(&self, group: u32, index: u64) -> Option<StoredEntry> {
        lock(&self.shared.tail).entry(group, index).cloned()
    }

    /// The segment is about to be removed.
    pub(super) fn forget_segment(&self, segment: u32) {
        lock(&self.cold.tables).retain(|(of, _)| *of != segment);
        lock(&self.cold.files).remove(&segment);
    }

    /// Entries of the group outside of these indexes are not there any more.
    pub(super) fn retain(&self, group: u32, indexes: impl RangeBounds<u64>) {
        lock(&self.cold.entries)
            .retain(|(of, entry)| *of != group || indexes.contains(&entry.index));
    }

    fn keep(&self, group: u32, entry: StoredEntry) {
        let mut entries = lock(&self.cold.entries);
        entries.push_front((group, entry));
        let mut bytes: usize = entries.iter().map(|(_, entry)| entry.body.len()).sum();
        while entries.len() > COLD_ENTRIES_MAX || bytes > COLD_BYTES_MAX && entries.len() > 1 {
            bytes -= entries.pop_back().map_or(0, |(_, entry)| entry.body.len());
        }
    }

    fn read_slot(&self, segment: u32, slot: Slot, index: u64) -> Result<StoredEntry, ReadError> {
        let corrupt = ReadError::Corrupt {
            segment,
            offset: slot.offset,
        };
        let (header, body) = self.record(segment, slot.offset, slot.length)?;
        let is_entry = matches!(header.kind, Kind::Blank | Kind::Normal | Kind::Membership);
        if !is_entry || header.term != slot.term || header.index != index {
            return Err(corrupt);
        }
        Ok(StoredEntry {
            kind: header.kind,
            term: header.term,
            index,
            position: Position {
                segment,
                offset: slot.offset,
            },
            body,
        })
    }

    /// A whole record, verified.
    fn record(
        &self,
        segment: u32,
        offset: u32,
        length: u32,
    ) -> Result<(RecordHeader, Bytes), ReadError> {
        let file = self.file(segment)?;
        let mut bytes = vec![0; (RECORD_HEADER_BYTES + length) as usize];
        file.read_at(&mut bytes, u64::from(offset))
            .map_err(|source| ReadError::Io { segment, source })?;
        let header = RecordHeader::decode(&bytes)
            .filter(|header| header.length == length && header.verify(&bytes, segment, offset))
            .ok_or(ReadError::Corrupt { segment, offset })?;
        Ok((
            header,
            Bytes::from(bytes).slice(RECORD_HEADER_BYTES as usize..),
        ))
    }

    fn table(&self, segment: u32) -> Result<Arc<Table>, ReadError> {
        let mut tables = lock(&self.cold.tables);
        if let Some((_, table)) = tables.iter().find(|(of, _)| *of == segment) {
            return Ok(Arc::clone(table));
        }
        let corrupt = |offset| ReadError::Corrupt { segment, offset };
        let offset = {
            let state = lock(&self.shared.state);
            let sealed = state.index.sealed.get(&segment);
            let sealed = sealed.ok_or_else(|| corrupt(0))?;
            if let Some(table) = &sealed.unwritten {
                return Ok(Arc::clone(table));
            }
            sealed.table_offset
        };
        let mut header = [0; RECORD_HEADER_BYTES as usize];
        self.file(segment)?
            .read_at(&mut header, u64::from(offset))
            .map_err(|source| ReadError::Io { segment, source })?;
        let header = RecordHeader::decode(&header)
            .filter(|header| header.kind == Kind::Table)
            .ok_or_else(|| corrupt(offset))?;
        let (_, body) = self.record(segment, offset, header.length)?;
        let table = Arc::new(seal::decode_table(&body).map_err(|_| corrupt(offset))?);
        tables.push_front((segment, Arc::clone(&table)));
        tables.truncate(TABLES_MAX);
        Ok(table)
    }

    fn file(&self, segment: u32) -> Result<Arc<dyn DiskFile>, ReadError> {
        let mut files = lock(&self.cold.files);
        if let Some(file) = files.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let path = segment::path_of(&self.shared.directory, segment);
        let opened = self.shared.disk.open(&path);
        let file = opened.map_err(|source| ReadError::Io { segment, source })?;
        if files.len() >= OPEN_FILES_MAX {
            files.pop_first();
        }
        files.insert(segment, Arc::clone(&file));
        Ok(file)
    }
}
