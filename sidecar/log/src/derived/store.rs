//! The tables on disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fjall::compaction::filter::Factory;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};

use super::expiry::Horizon;
use super::{DerivedError, FORMAT_VERSION};

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

/// The kinds of records; the byte that their keys begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// One record: what the checkpoint reflects.
    Meta,
    /// Topics, by id.
    Topic,
    /// Consumer groups, by id.
    Group,
    /// Producers, by id.
    Producer,
    /// Unresolved transactions, by sequence.
    Unresolved,
    /// Delayed messages, by due time and sequence.
    Delayed,
    /// Consumer groups' progress, by group, topic and queue.
    Progress,
    /// Resolved transactions, by id. Begins with the time of expiry.
    Resolved,
    /// Guards, by scope and key. Begins with the time of expiry.
    Guard,
}

impl Table {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Topic => "topic",
            Self::Group => "group",
            Self::Producer => "producer",
            Self::Unresolved => "unresolved",
            Self::Delayed => "delayed",
            Self::Progress => "progress",
            Self::Resolved => "resolved",
            Self::Guard => "guard",
        }
    }

    fn prefix(self) -> u8 {
        match self {
            Self::Meta => b'm',
            Self::Topic => b't',
            Self::Group => b'g',
            Self::Producer => b'p',
            Self::Unresolved => b'u',
            Self::Delayed => b'd',
            Self::Progress => b'q',
            Self::Resolved => b'r',
            Self::Guard => b'k',
        }
    }

    /// True when a key's record begins with its time of expiry.
    pub(super) fn expires(key: &[u8]) -> bool {
        let prefix = key.first().copied();
        prefix == Some(Self::Resolved.prefix()) || prefix == Some(Self::Guard.prefix())
    }

    fn key(self, key: &[u8]) -> Vec<u8> {
        let mut whole = Vec::with_capacity(1 + key.len());
        whole.push(self.prefix());
        whole.extend_from_slice(key);
        whole
    }
}

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

    /// Takes a record away.
    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.all.push((table.key(key), None));
    }
}

#[cfg(test)]
impl Changes {
    /// What a newer program would leave.
    pub(crate) fn newer_format() -> Self {
        Self {
            all: vec![(FORMAT_KEY.into(), Some(vec![FORMAT_VERSION + 1]))],
            verdicts: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Store {
    /// What is on disk when a crash comes in the middle of a checkpoint.
    pub(crate) fn commit_verdicts_only(&self, mut changes: Changes) -> Result<(), DerivedError> {
        changes.verdicts.sort_unstable();
        self.opened()?.ingest(changes.verdicts)
    }

    /// Does now what the store does by itself when there is enough to compact.
    pub(crate) fn compact(&self) -> Result<(), DerivedError> {
        let opened = self.opened()?;
        for keyspace in [&opened.records, &opened.verdicts] {
            keyspace.rotate_memtable_and_wait()?;
            keyspace.major_compact()?;
        }
        Ok(())
    }
}

/// Derived state on disk. Cheap to clone.
///
/// A new store is made by the first checkpoint, not on opening: making its files takes
/// longer than everything else that a start on an empty directory does.
#[derive(Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    opened: Arc<OnceLock<Opened>>,
    horizon: Horizon,
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
            | Table::Progress
            | Table::Guard => &self.records,
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
}

impl Store {
    /// Opens the store when there is one.
    pub(crate) fn open(directory: &Path) -> Result<Self, DerivedError> {
        let store = Self {
            directory: directory.to_owned(),
            opened: Arc::default(),
            horizon: Horizon::default(),
        };
        let exists = directory.try_exists();
        if exists.map_err(|source| store.io_error(source))? {
            store.opened()?;
        }
        Ok(store)
    }

    /// The opened store, which is made now when it is not there.
    fn opened(&self) -> Result<&Opened, DerivedError> {
        match self.opened.get() {
            Some(opened) => Ok(opened),
            None => {
                let opened = self.make()?;
                Ok(self.opened.get_or_init(|| opened))
            }
        }
    }

    fn make(&self) -> Result<Opened, DerivedError> {
        std::fs::create_dir_all(&self.directory).map_err(|source| self.io_error(source))?;
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
        match self.opened.get() {
            Some(opened) => Ok(opened.keyspace(table).get(table.key(key))?),
            None => Ok(None),
        }
    }

    /// Every record of a table, in the order of the keys.
    pub(crate) fn scan(
        &self,
        table: Table,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), DerivedError>,
    ) -> Result<(), DerivedError> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        for record in opened.keyspace(table).prefix([table.prefix()]) {
            let (key, record) = record.into_inner()?;
            each(key.get(1..).unwrap_or_default(), &record)?;
        }
        Ok(())
    }

    /// Writes the changes of a checkpoint, all or none, and syncs them.
    ///
    /// Verdicts are the exception: after a crash some may be there although the rest is
    /// not. They name the entry that they come from, so that whoever applies entries
    /// before it does not see them.
    pub(crate) fn commit(&self, mut changes: Changes, stamp_ms: u64) -> Result<(), DerivedError> {
        let opened = self.opened()?;
        changes.verdicts.sort_unstable();
        let count = changes.all.len() + changes.verdicts.len();
        let mut batch = OwnedWriteBatch::with_capacity(opened.database.clone(), count);
        if changes.verdicts.len() >= INGEST_RECORDS_MIN {
            opened.ingest(changes.verdicts)?;
        } else {
            for (key, record) in changes.verdicts {
                batch.insert(&opened.verdicts, key, record);
            }
        }
        for (key, record) in changes.all {
            match record {
                Some(record) => batch.insert(&opened.records, key, record),
                None => batch.remove(&opened.records, key),
            }
        }
        batch.commit()?;
        opened.database.persist(PersistMode::SyncData)?;
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
        Some(&[found]) if found <= FORMAT_VERSION => Ok(()),
        Some(other) => Err(DerivedError::NewerFormat {
            found: other.first().copied().unwrap_or(u8::MAX),
            newest: FORMAT_VERSION,
        }),
    }
}

const FORMAT_KEY: &str = "v";
