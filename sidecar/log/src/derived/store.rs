//! The tables on disk.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fjall::compaction::filter::Factory;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};

use super::expiry::Horizon;
use super::{DerivedError, FORMAT_VERSION, Table};

/// Blocks kept in memory, once they were read.
const CACHE_BYTES: u64 = 16 << 20;
/// Records kept in memory before they go into a file.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// Files of the store kept open.
const OPEN_FILES_MAX: usize = 64;
/// From so many verdicts on, a checkpoint writes them as a file of their own. Taking them
/// through the store's journal costs twice as much, and again after a crash.
const INGEST_RECORDS_MIN: usize = if cfg!(test) { 2 } else { 4_096 };
/// Threads that write files and compact.
const WORKER_THREADS: usize = 1;
/// The store's own journal, before it is cut.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Room on the disk, in MiB, without which a store whose commit has failed is not opened again.
const REOPEN_ROOM_MIB: u64 = 8;

/// The key of a record in its table, and the record.
pub(crate) type StoredRecord = Result<(Vec<u8>, Slice), DerivedError>;

/// The changes of one checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    all: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    verdicts: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Changes {
    /// Writes a record.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], record: Vec<u8>) {
        self.all.push((table.key(key), Some(record)));
    }

    /// Writes the verdict of a transaction, each once.
    pub(crate) fn put_verdict(&mut self, key: &[u8], record: Vec<u8>) {
        self.verdicts.push((Table::Resolved.key(key), record));
    }

    /// Writes a record as [`Store::for_each`] has given it out.
    pub(crate) fn put_whole(&mut self, key: Vec<u8>, record: Vec<u8>) {
        match key.first() == Some(&Table::Resolved.prefix()) {
            true => self.verdicts.push((key, record)),
            false => self.all.push((key, Some(record))),
        }
    }

    /// How many verdicts there are.
    pub(crate) fn verdicts(&self) -> usize {
        self.verdicts.len()
    }

    /// Hands out the verdicts as changes of their own.
    pub(crate) fn split_verdicts(&mut self) -> Self {
        Self {
            all: Vec::new(),
            verdicts: std::mem::take(&mut self.verdicts),
        }
    }

    /// Takes a record away.
    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.all.push((table.key(key), None));
    }
}

#[cfg(test)]
impl Changes {
    /// What a newer program would leave.
    pub(crate) fn newer_format() -> Self {
        Self::format(FORMAT_VERSION + 1)
    }

    /// What an older program has left.
    pub(crate) fn older_format() -> Self {
        Self::format(FORMAT_VERSION - 1)
    }

    fn format(version: u8) -> Self {
        Self {
            all: vec![(FORMAT_KEY.into(), Some(vec![version]))],
            verdicts: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Store {
    /// What is on disk when a crash comes in the middle of a checkpoint.
    pub(crate) fn commit_verdicts_only(&self, mut changes: Changes) -> Result<(), DerivedError> {
        changes.verdicts.sort_unstable();
        self.prepare()?;
        let ingest = |opened: &Opened| opened.ingest(changes.verdicts);
        self.with(ingest)?;
        Ok(())
    }

    /// Does now what the store does by itself when there is enough to compact.
    pub(crate) fn compact(&self) -> Result<(), DerivedError> {
        let compact = |opened: &Opened| {
            for keyspace in [&opened.records, &opened.verdicts] {
                keyspace.rotate_memtable_and_wait()?;
                keyspace.major_compact()?;
            }
            Ok(())
        };
        self.with(compact)?;
        Ok(())
    }

    /// Does now what the store does by itself when enough is in memory, and does not wait.
    pub(crate) fn flush_in_the_background(&self) {
        let flush = |opened: &Opened| Ok(opened.records.rotate_memtable()?);
        self.with(flush).unwrap();
    }
}

/// Derived state on disk. Cheap to clone.
///
/// A new store is made by the first checkpoint, not on opening: making its files takes
/// longer than everything else that a start on an empty directory does.
#[derive(Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    slot: Arc<RwLock<Slot>>,
    /// A commit has failed since this store was opened, so that nobody knows how much of its
    /// journal is really on disk.
    failed_before: Arc<AtomicBool>,
    horizon: Horizon,
}

#[derive(Default)]
struct Slot {
    opened: Option<Opened>,
    /// There are records, whether it is open or not.
    exists: bool,
    /// A commit has failed. It takes no more of them before it is opened again, but can be
    /// read.
    failed: bool,
    /// Never opened again: the directory belongs to another store.
    closed: bool,
}

struct Opened {
    database: Database,
    /// What is read whole when the log is opened, and guards.
    records: Keyspace,
    /// Verdicts.
    verdicts: Keyspace,
}

impl Opened {
    fn keyspace(&self, table: Table) -> &Keyspace {
        match table {
            Table::Resolved => &self.verdicts,
            Table::Meta
            | Table::Topic
            | Table::Group
            | Table::Producer
            | Table::Unresolved
            | Table::Delayed
            | Table::Outgoing
            | Table::Target
            | Table::Source
            | Table::Progress
            | Table::Guard
            | Table::SagaDefinition
            | Table::SagaOwner
            | Table::Saga
            | Table::EndedSaga => &self.records,
        }
    }

    /// Writes many verdicts at once, durable on return. Keys come in ascending order.
    fn ingest(&self, verdicts: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), DerivedError> {
        let mut ingestion = self.verdicts.start_ingestion()?;
        for (key, record) in verdicts {
            ingestion.write(key, record)?;
        }
        Ok(ingestion.finish()?)
    }

    fn commit(&self, mut changes: Changes, ingest_min: usize) -> Result<(), DerivedError> {
        changes.verdicts.sort_unstable();
        let count = changes.all.len() + changes.verdicts.len();
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), count);
        if changes.verdicts.len() >= ingest_min {
            self.ingest(changes.verdicts)?;
        } else {
            for (key, record) in changes.verdicts {
                batch.insert(&self.verdicts, key, record);
            }
        }
        for (key, record) in changes.all {
            match record {
                Some(record) => batch.insert(&self.records, key, record),
                None => batch.remove(&self.records, key),
            }
        }
        batch.commit()?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}

impl Store {
    /// Opens the store when there is one.
    pub(crate) fn open(directory: &Path) -> Result<Self, DerivedError> {
        let store = Self {
            directory: directory.to_owned(),
            slot: Arc::default(),
            failed_before: Arc::default(),
            horizon: Horizon::default(),
        };
        let exists = directory.try_exists();
        if exists.map_err(|source| store.io_error(source))? && !store.is_unfinished()? {
            store.prepare()?;
        }
        Ok(store)
    }

    /// Makes the store ready for a commit: makes it when it is not there, and opens it again
    /// when a commit has failed, after which it would refuse all others.
    fn prepare(&self) -> Result<(), DerivedError> {
        let failed = {
            let slot = self.slot();
            if slot.closed {
                return Err(self.io_error(io::ErrorKind::BrokenPipe.into()));
            }
            if slot.opened.is_some() && !slot.failed {
                return Ok(());
            }
            slot.failed
        };
        if failed {
            // As long as it is open it can at least be read.
            self.check_room()?;
        }
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the lock of the directory.
        slot.opened = None;
        slot.opened = Some(self.make()?);
        slot.exists = true;
        slot.failed = false;
        Ok(())
    }

    /// Closes the files for good, whoever else has this store: its directory is about to
    /// become that of another one. Blocking.
    pub(crate) fn close(&self) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.closed = true;
        slot.opened = None;
    }

    /// Fails when the disk is as full as it was.
    fn check_room(&self) -> Result<(), DerivedError> {
        let path = self.directory.with_extension("room");
        let written = || -> io::Result<()> {
            let file = File::create(&path)?;
            let mebibyte = vec![1; 1 << 20];
            for at in 0..REOPEN_ROOM_MIB {
                file.write_all_at(&mebibyte, at << 20)?;
            }
            file.sync_data()
        };
        let written = written();
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|source| self.io_error(source))
    }

    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the open store; nothing when there is none yet.
    fn with<T>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T, DerivedError>,
    ) -> Result<Option<T>, DerivedError> {
        let mut slot = self.slot();
        if slot.opened.is_none() && slot.exists {
            drop(slot);
            self.prepare()?;
            slot = self.slot();
        }
        slot.opened.as_ref().map(work).transpose()
    }

    /// The file that is there while the store is being made.
    fn unfinished(&self) -> PathBuf {
        self.directory.with_extension("unfinished")
    }

    /// True when making the store was interrupted. Then no checkpoint was ever written to it,
    /// and it cannot be opened.
    fn is_unfinished(&self) -> Result<bool, DerivedError> {
        let exists = self.unfinished().try_exists();
        exists.map_err(|source| self.io_error(source))
    }

    /// Opens the store, and makes it when it is not there.
    fn make(&self) -> Result<Opened, DerivedError> {
        let begin = || -> io::Result<bool> {
            let unfinished = self.unfinished();
            if unfinished.try_exists()? && self.directory.try_exists()? {
                std::fs::remove_dir_all(&self.directory)?;
            }
            let new = !self.directory.try_exists()?;
            if new {
                File::create(unfinished)?;
                self.sync_parent()?;
                std::fs::create_dir_all(&self.directory)?;
            }
            Ok(new)
        };
        let new = begin().map_err(|source| self.io_error(source))?;
        let opened = self.open_database()?;
        if new {
            let finished = std::fs::remove_file(self.unfinished());
            let finished = finished.and_then(|()| self.sync_parent());
            finished.map_err(|source| self.io_error(source))?;
        }
        Ok(opened)
    }

    fn sync_parent(&self) -> io::Result<()> {
        match self.directory.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    fn open_database(&self) -> Result<Opened, DerivedError> {
        let filter: Arc<dyn Factory> = Arc::new(self.horizon.clone());
        let database = Database::builder(&self.directory)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(WORKER_THREADS)
            .with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&filter))))
            .open()?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
        };
        let records = database.keyspace("records", options)?;
        check_format(&records)?;
        Ok(Opened {
            records,
            verdicts: database.keyspace("verdicts", options)?,
            database,
        })
    }

    /// One record.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, DerivedError> {
        let found = self.with(|opened| Ok(opened.keyspace(table).get(table.key(key))?));
        Ok(found?.flatten())
    }

    /// Every record of a table, in the order of the keys.
    pub(crate) fn scan(
        &self,
        table: Table,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), DerivedError>,
    ) -> Result<(), DerivedError> {
        let scanned = self.with(|opened| {
            for record in opened.keyspace(table).prefix([table.prefix()]) {
                let (key, record) = record.into_inner()?;
                each(key.get(1..).unwrap_or_default(), &record)?;
            }
            Ok(())
        });
        scanned?;
        Ok(())
    }

    /// Gives out the records of a table whose keys come after one, in the order of the keys.
    pub(crate) fn after<T>(
        &self,
        table: Table,
        after: &[u8],
        look: impl FnOnce(&mut dyn Iterator<Item = StoredRecord>) -> T,
    ) -> Result<T, DerivedError> {
        let mut look = Some(look);
        let found = self.with(|opened| {
            let (after, end) = (table.key(after), [table.prefix() + 1]);
            let range = (
                Bound::Excluded(after.as_slice()),
                Bound::Excluded(end.as_slice()),
            );
            let records = opened.keyspace(table).range::<&[u8], _>(range);
            let mut records = records.map(|record| {
                let (key, record) = record.into_inner()?;
                Ok((key.get(1..).unwrap_or_default().to_vec(), record))
            });
            Ok(look.take().map(|look| look(&mut records)))
        })?;
        match (found.flatten(), look) {
            (Some(found), _) => Ok(found),
            (None, Some(look)) => Ok(look(&mut std::iter::empty())),
            // It was looked, so there is something that was found.
            (None, None) => Err(self.io_error(io::ErrorKind::NotFound.into())),
        }
    }

    /// Every record of every table: its table, its whole key, and its bytes.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(Table, &[u8], &[u8]) -> Result<(), DerivedError>,
    ) -> Result<(), DerivedError> {
        for table in Table::ALL {
            self.scan(table, |key, record| each(table, &table.key(key), record))?;
        }
        Ok(())
    }

    /// Writes the changes of a checkpoint, all or none, and syncs them. After an error nobody
    /// knows whether it was all or none; the same changes can be written again, with newer
    /// ones.
    ///
    /// Verdicts are the exception: after a crash some may be there although the rest is
    /// not. They name the entry that they come from, so that whoever applies entries
    /// before it does not see them.
    pub(crate) fn commit(&self, changes: Changes, stamp_ms: u64) -> Result<(), DerivedError> {
        self.prepare()?;
        // Verdicts must not count on a journal whose sync may have failed: were a part of it
        // lost, later verdicts would be lost although the other records, which are one table
        // and one order, are there.
        let ingest_min = match self.failed_before.load(Ordering::SeqCst) {
            true => 1,
            false => INGEST_RECORDS_MIN,
        };
        let committed = self.with(|opened| opened.commit(changes, ingest_min));
        if let Err(error) = committed {
            self.failed_before.store(true, Ordering::SeqCst);
            let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
            slot.failed = true;
            return Err(error);
        }
        self.horizon.advance(stamp_ms);
        Ok(())
    }

    fn io_error(&self, source: std::io::Error) -> DerivedError {
        DerivedError::Io {
            path: self.directory.display().to_string(),
            source,
        }
    }
}

fn check_format(records: &Keyspace) -> Result<(), DerivedError> {
    let format = records.get(FORMAT_KEY)?;
    match format.as_deref() {
        None => {
            records.insert(FORMAT_KEY, [FORMAT_VERSION])?;
            Ok(())
        }
        Some(&[FORMAT_VERSION]) => Ok(()),
        Some(&[found]) if found < FORMAT_VERSION => Err(DerivedError::OlderFormat {
            found,
            known: FORMAT_VERSION,
        }),
        Some(other) => Err(DerivedError::NewerFormat {
            found: other.first().copied().unwrap_or(u8::MAX),
            newest: FORMAT_VERSION,
        }),
    }
}

const FORMAT_KEY: &str = "v";
