use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::sync_parent;
use super::{FloorFile, FloorHeader, NewFloor};
use crate::raft::LogId;

const EXTENSION: &str = "floor";
/// What a file ends with as long as it is not complete.
const UNFINISHED: &str = "unfinished";
/// Files that are kept. They lie evenly between the floor and the end of the log, so about
/// this part of the log is kept longer than it would have to be.
const FLOORS_MAX: usize = 8;

/// The floor checkpoints of a node.
#[derive(Debug)]
pub(crate) struct Floors {
    directory: PathBuf,
    known: Mutex<BTreeMap<u64, FloorHeader>>,
    receiving: AtomicU64,
}

impl Floors {
    /// Looks what is there. What cannot be understood is left alone.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some(UNFINISHED) => std::fs::remove_file(&path)?,
                Some(EXTENSION) => match FloorFile::open(&path) {
                    Ok(file) => drop(known.insert(file.header.applied.index, file.header)),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a floor checkpoint is ignored");
                    }
                },
                _ => {}
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            known: Mutex::new(known),
            receiving: AtomicU64::new(0),
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, FloorHeader>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, index: u64) -> PathBuf {
        self.directory.join(format!("{index:020}.{EXTENSION}"))
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> Option<LogId> {
        let known = self.known();
        known.last_key_value().map(|(_, header)| header.applied)
    }

    /// The newest one that contains nothing after this entry.
    pub(crate) fn latest_upto(&self, index: u64) -> Option<LogId> {
        let known = self.known();
        let (_, header) = known.range(..=index).next_back()?;
        Some(header.applied)
    }

    /// Opens the one of an entry.
    pub(crate) fn get(&self, index: u64) -> io::Result<FloorFile> {
        FloorFile::open(&self.path(index))
    }

    /// Where one of this entry is to be written.
    pub(crate) fn new_floor(&self, index: u64) -> NewFloor {
        let path = self.path(index);
        NewFloor::new(path.with_extension(UNFINISHED), path)
    }

    /// Takes in one that has been written, and removes one of those that are closest together.
    /// Never the newest, nor the one that the log begins at.
    pub(crate) fn written(&self, index: u64, log_begins_at: u64) -> io::Result<()> {
        let file = self.get(index)?;
        let mut known = self.known();
        known.insert(index, file.header);
        let Some(needed) = known.range(..=log_begins_at).next_back() else {
            return self.thin(&mut known, 0);
        };
        let needed = *needed.0;
        // Those before it cannot be used any more: the entries after them are gone.
        let kept = known.split_off(&needed);
        for index in std::mem::replace(&mut *known, kept).into_keys() {
            std::fs::remove_file(self.path(index))?;
        }
        self.thin(&mut known, 1)
    }

    fn thin(&self, known: &mut BTreeMap<u64, FloorHeader>, kept_first: usize) -> io::Result<()> {
        while known.len() > FLOORS_MAX {
            let indexes: Vec<u64> = known.keys().copied().collect();
            let between = indexes.windows(3).skip(kept_first.saturating_sub(1));
            let gap = |three: &&[u64]| match three {
                [before, _, after] => after - before,
                _ => u64::MAX,
            };
            let Some([_, closest, _]) = between.min_by_key(gap) else {
                return Ok(());
            };
            known.remove(closest);
            std::fs::remove_file(self.path(*closest))?;
        }
        Ok(())
    }

    /// Where one that is received is collected, each time elsewhere.
    pub(crate) fn receiving(&self) -> PathBuf {
        let number = self.receiving.fetch_add(1, Ordering::Relaxed);
        self.directory
            .join(format!("received-{number}.{UNFINISHED}"))
    }

    /// Takes in one that was received and is in use now. All others are of a state that is
    /// gone.
    pub(crate) fn received(&self, file: &FloorFile) -> io::Result<()> {
        let index = file.header.applied.index;
        let path = self.path(index);
        if file.path != path {
            std::fs::rename(&file.path, &path)?;
            sync_parent(&path)?;
        }
        let mut known = self.known();
        let others = std::mem::take(&mut *known);
        known.insert(index, file.header.clone());
        for other in others.into_keys().filter(|other| *other != index) {
            std::fs::remove_file(self.path(other))?;
        }
        Ok(())
    }
}
