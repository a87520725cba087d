//! A disk that fails when it is told to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::super::disk::{Disk, DiskFile, OsDisk};

#[derive(Clone, Default)]
pub(crate) struct FaultyDisk {
    /// New files find no space.
    pub(crate) full: Arc<AtomicBool>,
    /// Syncs fail, once for each time it is set: the kernel forgets failed pages too.
    pub(crate) fail_next_sync: Arc<AtomicBool>,
    /// No sector can be read.
    pub(crate) unreadable: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

/// Syncs pass it one after the other, or wait in front of it.
#[derive(Default)]
struct Gate {
    /// How many more may pass; any number when there is nothing.
    left: Mutex<Option<u32>>,
    opened: Condvar,
}

/// As long as it lives, syncs wait.
pub(crate) struct Held(Arc<Gate>);

impl FaultyDisk {
    pub(crate) fn hold_syncs(&self) -> Held {
        *self.gate.left.lock().unwrap() = Some(0);
        Held(Arc::clone(&self.gate))
    }
}

impl Held {
    /// So many more are done, and then they wait again.
    pub(crate) fn let_pass(&self, syncs: u32) {
        *self.0.left.lock().unwrap() = Some(syncs);
        self.0.opened.notify_all();
    }
}

impl Gate {
    fn pass(&self) {
        let left = self.left.lock().unwrap();
        let mut left = self
            .opened
            .wait_while(left, |left| *left == Some(0))
            .unwrap();
        *left = left.map(|left| left - 1);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap() = None;
        self.0.opened.notify_all();
    }
}

struct FaultyFile {
    file: Arc<dyn DiskFile>,
    disk: FaultyDisk,
    new: bool,
}

impl FaultyFile {
    fn wrap(file: Arc<dyn DiskFile>, disk: &FaultyDisk, new: bool) -> Arc<dyn DiskFile> {
        let disk = disk.clone();
        Arc::new(Self { file, disk, new })
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let grows = self.new && offset + bytes.len() as u64 > self.file.length()?;
        if grows && self.disk.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self.disk.unreadable.load(Ordering::SeqCst) {
            true => Err(rustix::io::Errno::IO.into()),
            false => self.file.read_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.gate.pass();
        if self.disk.fail_next_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(FaultyFile::wrap(OsDisk.create(path)?, self, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(FaultyFile::wrap(OsDisk.open(path)?, self, false))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        OsDisk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        OsDisk.sync_directory(directory)
    }
}
