//! The files of all queues, in one directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{At, ENTRIES_PER_FILE, ENTRY_BYTES, Entry, IndexError, OPEN_FILES_MAX};

/// One file: a piece of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub(super) topic: u32,
    pub(super) queue: u32,
    pub(super) number: u64,
}

impl FileId {
    fn name(self) -> String {
        let Self {
            topic,
            queue,
            number,
        } = self;
        format!("{topic:010}-{queue:04}-{number:08}.index")
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".index")?.split('-');
        let id = Self {
            topic: parts.next()?.parse().ok()?,
            queue: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        (parts.next().is_none() && id.name() == name).then_some(id)
    }
}

/// Files open for reading, by when they were last used.
#[derive(Debug, Default)]
struct Open {
    files: HashMap<FileId, (Arc<File>, u64)>,
    uses: u64,
}

/// Reads and writes the index's files.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    open: Mutex<Open>,
    /// There are files that the directory may forget in a crash.
    unsynced: AtomicBool,
    /// An entry was read that is not what was written.
    damaged: AtomicBool,
    /// The directory belongs to another index.
    retired: AtomicBool,
}

impl Files {
    /// Opens the directory and makes it when it is not there. Fails when an earlier run has
    /// found damage in it.
    pub(crate) fn open(directory: &Path) -> Result<Self, IndexError> {
        let files = Self {
            directory: directory.to_owned(),
            open: Mutex::default(),
            unsynced: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        };
        std::fs::create_dir_all(directory).map_err(|source| files.directory_error(source))?;
        files.check_note()?;
        Ok(files)
    }

    /// True when an entry was read that is not what was written.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    /// Another index takes the place of this one. What late readers find there says nothing
    /// about damage.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Fails when an earlier run has found damage.
    fn check_note(&self) -> Result<(), IndexError> {
        match std::fs::read_to_string(self.damage_note()) {
            Ok(note) => Err(IndexError::Noted { note }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.directory_error(source)),
        }
    }

    /// The file that tells the next run of damage that this one has found.
    fn damage_note(&self) -> PathBuf {
        self.directory.with_file_name("damaged")
    }

    /// Entries are verified when they are read, so damage may be found late. It is noted for
    /// the next start, which makes derived state again.
    fn damaged(&self, id: FileId, offset: u64) -> IndexError {
        let file = id.name();
        if !self.retired.load(Ordering::SeqCst) && !self.damaged.swap(true, Ordering::SeqCst) {
            tracing::error!(%file, offset, "the queue index is damaged");
            let note = format!("{file} is damaged at the entry of offset {offset}\n");
            if let Err(error) = std::fs::write(self.damage_note(), note) {
                tracing::error!(%error, "the damage could not be noted");
            }
        }
        IndexError::Damaged { file, offset }
    }

    /// Cuts every queue to what the checkpoint recorded: first and next offset by topic and
    /// queue.
    ///
    /// # Errors
    ///
    /// When there is less than the checkpoint recorded: the index is damaged.
    pub(crate) fn truncate(
        &self,
        recorded: &BTreeMap<(u32, u32), (u64, u64)>,
    ) -> Result<(), IndexError> {
        let found = self.list()?;
        for (&(topic, queue), &(first_offset, next_offset)) in recorded {
            let first_file = first_offset / ENTRIES_PER_FILE;
            // What has expired may be missing altogether.
            let files = match first_offset < next_offset {
                true => first_file..next_offset.div_ceil(ENTRIES_PER_FILE),
                false => 0..0,
            };
            for number in files {
                let id = FileId {
                    topic,
                    queue,
                    number,
                };
                let recorded_bytes = bytes_in_file(id, next_offset);
                let found_bytes = found.get(&id).copied().unwrap_or(0);
                if found_bytes < recorded_bytes {
                    return Err(IndexError::Short {
                        file: id.name(),
                        found_bytes,
                        recorded_bytes,
                    });
                }
            }
        }
        for (id, found_bytes) in found {
            let offsets = recorded.get(&(id.topic, id.queue)).copied();
            let (first_offset, next_offset) = offsets.unwrap_or_default();
            let recorded_bytes = bytes_in_file(id, next_offset);
            if recorded_bytes == 0 || id.number < first_offset / ENTRIES_PER_FILE {
                std::fs::remove_file(self.path(id)).map_err(|source| error(id, source))?;
            } else if found_bytes > recorded_bytes {
                self.writable(id)
                    .and_then(|file| file.set_len(recorded_bytes))
                    .map_err(|source| error(id, source))?;
            }
        }
        Ok(())
    }

    /// Reads entries from `from` on, until `out` is full or the file ends.
    pub(super) fn read(
        &self,
        from: At,
        count: usize,
        mut each: impl FnMut(Entry, u64),
    ) -> Result<usize, IndexError> {
        let id = file_of(from.topic, from.queue, from.offset);
        let place = from.offset % ENTRIES_PER_FILE;
        let left = usize::try_from(ENTRIES_PER_FILE - place).unwrap_or(usize::MAX);
        let count = count.min(left);
        let mut bytes = vec![0; count * ENTRY_BYTES];
        self.readable(id)
            .and_then(|file| file.read_exact_at(&mut bytes, place * ENTRY_BYTES as u64))
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => self.damaged(id, from.offset),
                _ => error(id, source),
            })?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        for (entry, offset) in entries.iter().zip(from.offset..) {
            let entry = Entry::parse(At { offset, ..from }, entry);
            each(entry.ok_or_else(|| self.damaged(id, offset))?, offset);
        }
        Ok(count)
    }

    /// Writes entries that all belong in one file, from `from` on.
    pub(super) fn write(&self, file: &File, from: u64, entries: &[u8]) -> io::Result<()> {
        file.write_all_at(entries, (from % ENTRIES_PER_FILE) * ENTRY_BYTES as u64)
    }

    /// Opens the file that `offset` belongs in for writing. When it is new, the entries do not
    /// count as durable before [`Files::sync_directory`].
    pub(super) fn for_writing(
        &self,
        topic: u32,
        queue: u32,
        offset: u64,
    ) -> Result<File, IndexError> {
        let id = file_of(topic, queue, offset);
        let exists = self.path(id).try_exists();
        if !exists.map_err(|source| error(id, source))? {
            self.unsynced.store(true, Ordering::SeqCst);
        }
        self.writable(id).map_err(|source| error(id, source))
    }

    /// Removes a file that is not needed any more.
    pub(super) fn remove(&self, id: FileId) -> Result<(), IndexError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.remove(&id);
        drop(open);
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| error(id, source)),
        }
    }

    /// Makes new files durable, those of an earlier checkpoint that failed included.
    pub(crate) fn sync_directory(&self) -> Result<(), IndexError> {
        if !self.unsynced.load(Ordering::SeqCst) {
            return Ok(());
        }
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| self.directory_error(source))?;
        self.unsynced.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn path(&self, id: FileId) -> PathBuf {
        self.directory.join(id.name())
    }

    fn writable(&self, id: FileId) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(id))
    }

    fn readable(&self, id: FileId) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let now = open.uses;
        if let Some((file, used)) = open.files.get_mut(&id) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path(id))?);
        if open.files.len() >= OPEN_FILES_MAX {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(&id, _)| id) {
                open.files.remove(&oldest);
            }
        }
        open.files.insert(id, (Arc::clone(&file), now));
        Ok(file)
    }

    fn list(&self) -> Result<BTreeMap<FileId, u64>, IndexError> {
        let listed = || -> io::Result<BTreeMap<FileId, u64>> {
            let mut found = BTreeMap::new();
            for file in std::fs::read_dir(&self.directory)? {
                let file = file?;
                if let Some(id) = file.file_name().to_str().and_then(FileId::parse) {
                    found.insert(id, file.metadata()?.len());
                }
            }
            Ok(found)
        };
        listed().map_err(|source| self.directory_error(source))
    }

    fn directory_error(&self, source: io::Error) -> IndexError {
        IndexError::Io {
            file: self.directory.display().to_string(),
            source,
        }
    }
}

/// The first offset that does not go into the same file as `offset`.
pub(super) fn file_end(offset: u64) -> u64 {
    (offset / ENTRIES_PER_FILE + 1) * ENTRIES_PER_FILE
}

pub(super) fn error(id: FileId, source: io::Error) -> IndexError {
    IndexError::Io {
        file: id.name(),
        source,
    }
}

pub(super) fn file_of(topic: u32, queue: u32, offset: u64) -> FileId {
    FileId {
        topic,
        queue,
        number: offset / ENTRIES_PER_FILE,
    }
}

/// How long a file is when its queue ends at `next_offset`.
fn bytes_in_file(id: FileId, next_offset: u64) -> u64 {
    let before = id.number * ENTRIES_PER_FILE;
    next_offset.saturating_sub(before).min(ENTRIES_PER_FILE) * ENTRY_BYTES as u64
}
