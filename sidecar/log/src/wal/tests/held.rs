//! A disk that keeps what was not synced in memory, and can lose it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};

use super::super::disk::{Disk, DiskFile, OsDisk};

#[derive(Default)]
struct Held {
    syncs_wait: bool,
    lost: bool,
    files: Vec<Weak<HeldFile>>,
}

#[derive(Clone, Default)]
pub(crate) struct HeldDisk {
    held: Arc<(Mutex<Held>, Condvar)>,
}

impl HeldDisk {
    /// From now on syncs wait.
    pub(crate) fn hold(&self) {
        self.held.0.lock().unwrap().syncs_wait = true;
    }

    /// The power is cut: of what was not synced, only the first bytes of each file's got onto
    /// the disk. Nothing works any more.
    pub(crate) fn lose_all_but(&self, torn_bytes: usize) {
        let mut held = self.held.0.lock().unwrap();
        held.lost = true;
        for file in held.files.iter().filter_map(Weak::upgrade) {
            let mut left = torn_bytes;
            for (offset, bytes) in file.unsynced.lock().unwrap().drain(..) {
                let kept = left.min(bytes.len());
                file.file.write_at(&bytes[..kept], offset).unwrap();
                left -= kept;
            }
        }
        self.held.1.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        match self.held.0.lock().unwrap().lost {
            true => Err(io::Error::other("the power is cut")),
            false => Ok(()),
        }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let disk = self.clone();
        let file = Arc::new(HeldFile {
            file,
            disk,
            unsynced: Mutex::default(),
        });
        let mut held = self.held.0.lock().unwrap();
        held.files.push(Arc::downgrade(&file));
        file
    }
}

struct HeldFile {
    file: Arc<dyn DiskFile>,
    disk: HeldDisk,
    unsynced: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl HeldFile {
    fn write_unsynced(&self) -> io::Result<()> {
        for (offset, bytes) in self.unsynced.lock().unwrap().drain(..) {
            self.file.write_at(&bytes, offset)?;
        }
        Ok(())
    }
}

impl DiskFile for HeldFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check()?;
        let written = (offset, bytes.to_vec());
        self.unsynced.lock().unwrap().push(written);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.check()?;
        self.write_unsynced()?;
        self.file.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.disk.held.0.lock().unwrap();
        let waits = |held: &mut Held| held.syncs_wait && !held.lost;
        let held = self.disk.held.1.wait_while(held, waits).unwrap();
        match held.lost {
            true => Err(io::Error::other("the power is cut")),
            false => self.write_unsynced(),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.check()?;
        self.write_unsynced()
    }

    fn length(&self) -> io::Result<u64> {
        self.write_unsynced()?;
        self.file.length()
    }
}

impl Disk for HeldDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        Ok(self.file(OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(OsDisk.open(path)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        OsDisk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        OsDisk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.check()?;
        OsDisk.sync_directory(directory)
    }
}
