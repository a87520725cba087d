//! A disk in memory that forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::wal::disk::{Disk, DiskFile};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of writes that were not synced when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// The process died, the machine did not: everything is there.
    None,
    /// Nothing of them is there.
    AllLost,
    /// Any of their sectors may be there or not.
    AnySubset,
    /// What was written first is there, up to the middle of a sector.
    Torn,
}

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// Files cannot grow.
    pub full: bool,
    /// The next sync fails.
    pub fail_next_sync: bool,
    /// The next read fails.
    pub fail_next_read: bool,
}

/// The disk of one node. Cheap to clone; all clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, FileData>,
    next_file: u64,
    /// The names as they are now.
    names: BTreeMap<PathBuf, u64>,
    /// The names as a crash would find them, at least.
    synced_names: BTreeMap<PathBuf, u64>,
    faults: DiskFaults,
    /// Grows when the machine goes down; whoever had files open before has none now.
    mount: u64,
    /// Writes and syncs, for the trace.
    writes: u64,
    syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct FileData {
    bytes: Vec<u8>,
    synced_length: usize,
    /// Sectors that were written and not synced, with what was there before, in the order in
    /// which they were first written.
    unsynced: BTreeMap<usize, (u64, Vec<u8>)>,
}

impl FileData {
    fn write(&mut self, bytes: &[u8], offset: usize, order: u64) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let stop = (start + SECTOR_BYTES).min(self.bytes.len());
            let before = self.bytes.get(start..stop).unwrap_or_default().to_vec();
            self.unsynced.entry(sector).or_insert((order, before));
        }
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced_length = self.bytes.len();
    }

    fn restore(&mut self, sector: usize, before: &[u8]) {
        let start = sector * SECTOR_BYTES;
        for (place, byte) in self.bytes.iter_mut().skip(start).zip(before) {
            *place = *byte;
        }
    }

    fn lose_power(&mut self, loss: PowerLoss, random: &mut SmallRng) {
        let mut unsynced: Vec<_> = std::mem::take(&mut self.unsynced).into_iter().collect();
        unsynced.sort_by_key(|(sector, (order, _))| (*order, *sector));
        let kept = random.random_range(0..=unsynced.len());
        for (place, (sector, (_, before))) in unsynced.iter().enumerate() {
            let lost = match loss {
                PowerLoss::None => false,
                PowerLoss::AllLost => true,
                PowerLoss::AnySubset => random.random_bool(0.5),
                PowerLoss::Torn => place >= kept,
            };
            if !lost {
                continue;
            }
            let torn = loss == PowerLoss::Torn && place == kept;
            let from = if torn {
                random.random_range(0..=before.len())
            } else {
                0
            };
            let now = self.bytes.iter().skip(sector * SECTOR_BYTES).copied();
            let mixed: Vec<u8> = now
                .take(from)
                .chain(before.iter().skip(from).copied())
                .collect();
            self.restore(*sector, &mixed);
        }
        if loss != PowerLoss::None {
            let length = match random.random_bool(0.5) {
                true => self.synced_length,
                false => self.bytes.len(),
            };
            self.bytes.truncate(length);
        }
        self.sync();
    }
}

impl SimulatedDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a process sees it, until the machine goes down.
    pub(super) fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mounted {
            disk: self.clone(),
            mount: self.lock().mount,
        })
    }

    /// Takes everything away from the process that uses the disk.
    pub(super) fn crash(&self, loss: PowerLoss, random: &mut SmallRng) {
        let mut inner = self.lock();
        inner.mount += 1;
        for file in inner.files.values_mut() {
            file.lose_power(loss, random);
        }
        if loss != PowerLoss::None && random.random_bool(0.5) {
            inner.names = inner.synced_names.clone();
        }
        inner.synced_names = inner.names.clone();
        let names = &inner.names;
        let used: Vec<u64> = names.values().copied().collect();
        inner.files.retain(|id, _| used.contains(id));
        inner.faults.fail_next_read = false;
        inner.faults.fail_next_sync = false;
    }

    /// How the disk misbehaves from now on.
    pub fn set_faults(&self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut self.lock().faults);
    }

    /// How many writes and syncs there were.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.writes, inner.syncs)
    }

    /// Flips a bit of a file; false when there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: usize, bit: u8) -> bool {
        let mut inner = self.lock();
        let Some(id) = inner.names.get(path).copied() else {
            return false;
        };
        let file = inner.files.get_mut(&id);
        let Some(byte) = file.and_then(|file| file.bytes.get_mut(offset)) else {
            return false;
        };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// The files with their sizes and how much of each is used: the end of the last byte that
    /// is not zero, a trailer at the very end left out.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, usize, usize)> {
        let inner = self.lock();
        let used = |bytes: &[u8]| {
            let body = bytes.len().saturating_sub(16);
            let body = bytes.get(..body).unwrap_or_default();
            body.iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1)
        };
        let of = |(path, id): (&PathBuf, &u64)| {
            let file = inner.files.get(id)?;
            Some((path.clone(), file.bytes.len(), used(&file.bytes)))
        };
        inner.names.iter().filter_map(of).collect()
    }

    /// Forgets everything.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        let mount = inner.mount + 1;
        *inner = Inner {
            mount,
            ..Inner::default()
        };
    }
}

/// A disk that is in use.
struct Mounted {
    disk: SimulatedDisk,
    mount: u64,
}

impl Mounted {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.disk.lock();
        match inner.mount == self.mount {
            true => Ok(inner),
            false => Err(io::Error::other("the machine is down")),
        }
    }

    fn file(&self, id: u64) -> Arc<dyn DiskFile> {
        let mounted = Self {
            disk: self.disk.clone(),
            mount: self.mount,
        };
        Arc::new(OpenFile { mounted, id })
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Mounted {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner()?;
        if inner.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(id, FileData::default());
        inner.names.insert(path.to_owned(), id);
        drop(inner);
        Ok(self.file(id))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.inner()?.names.get(path).copied();
        Ok(self.file(id.ok_or_else(not_found)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner()?;
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        Ok(inner.names.keys().filter(inside).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner()?;
        let id = inner.names.remove(from).ok_or_else(not_found)?;
        inner.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.inner()?.names.remove(path);
        removed.map(drop).ok_or_else(not_found)
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.synced_names = inner.names.clone();
        Ok(())
    }
}

struct OpenFile {
    mounted: Mounted,
    id: u64,
}

impl OpenFile {
    fn sync(&self) -> io::Result<()> {
        let mut inner = self.mounted.inner()?;
        inner.syncs += 1;
        if std::mem::take(&mut inner.faults.fail_next_sync) {
            return Err(io::Error::other("the disk is broken"));
        }
        let file = inner.files.get_mut(&self.id).ok_or_else(not_found)?;
        file.sync();
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.mounted.inner()?;
        inner.writes += 1;
        let (order, full) = (inner.writes, inner.faults.full);
        let file = inner.files.get_mut(&self.id).ok_or_else(not_found)?;
        let offset = offset as usize;
        if full && offset + bytes.len() > file.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write(bytes, offset, order);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut inner = self.mounted.inner()?;
        if std::mem::take(&mut inner.faults.fail_next_read) {
            return Err(io::Error::other("a sector cannot be read"));
        }
        let file = inner.files.get(&self.id).ok_or_else(not_found)?;
        let offset = offset as usize;
        let found = file.bytes.get(offset..offset + bytes.len());
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn length(&self) -> io::Result<u64> {
        let inner = self.mounted.inner()?;
        let file = inner.files.get(&self.id).ok_or_else(not_found)?;
        Ok(file.bytes.len() as u64)
    }
}
