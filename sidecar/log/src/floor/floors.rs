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
/// The last one that could not be read.
const DAMAGED: &str = "damaged";

/// The floor checkpoints of a node.
#[derive(Debug)]
pub(crate) struct Floors {
    directory: PathBuf,
    known: Mutex<Known>,
    receiving: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    headers: BTreeMap<u64, FloorHeader>,
    /// The last entry that is gone from the log. What a floor checkpoint before it has cannot
    /// be continued.
    purged: Option<LogId>,
    /// The log is being purged up to here, or has been.
    pinned: u64,
}

impl Known {
    fn latest(&self, upto: u64) -> Option<u64> {
        let begin = self.purged.map_or(0, |purged| purged.index);
        let mut usable = self.headers.range(begin..=upto.max(begin));
        usable.next_back().map(|(index, _)| *index)
    }
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
                    Err(error) if says_damage(&error) => {
                        tracing::warn!(path = %path.display(), %error, "a floor checkpoint is ignored");
                    }
                    // It may be whole, and the only one to go on from.
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            known: Mutex::new(Known {
                headers: known,
                ..Known::default()
            }),
            receiving: AtomicU64::new(0),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, index: u64) -> PathBuf {
        self.directory.join(format!("{index:020}.{EXTENSION}"))
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> Option<LogId> {
        let known = self.known();
        let newest = known.headers.last_key_value();
        newest.map(|(_, header)| header.applied)
    }

    /// The log's entries up to this one are gone.
    pub(crate) fn purged(&self, upto: Option<LogId>) {
        let mut known = self.known();
        if upto.map(|upto| upto.index) > known.purged.map(|purged| purged.index) {
            known.purged = upto;
        }
    }

    /// The newest one that contains nothing after this entry and that the log can be continued
    /// from. When nothing of the kind can be read, but entries are gone, it is one that there is
    /// no file of.
    pub(crate) fn latest_upto(&self, index: u64) -> io::Result<Option<FloorFile>> {
        let mut known = self.known();
        let found = self.open_latest(&mut known, index)?;
        Ok(found.or_else(|| known.purged.map(FloorFile::lost)))
    }

    /// The same, only one that there is, and it stays from now on, until another one is asked
    /// for: the log is to be purged up to it.
    pub(crate) fn to_purge_to(&self, index: u64) -> io::Result<Option<FloorFile>> {
        let mut known = self.known();
        let found = self.open_latest(&mut known, index)?;
        if let Some(found) = &found {
            known.pinned = found.header.applied.index;
        }
        Ok(found)
    }

    /// Opened while no other is removed: it can be read from then on, whatever happens.
    fn open_latest(&self, known: &mut Known, upto: u64) -> io::Result<Option<FloorFile>> {
        while let Some(index) = known.latest(upto) {
            match FloorFile::open(&self.path(index)) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if says_damage(&error) => self.set_aside(known, index, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads all of it. False when it is damaged: then it is not handed out again. Blocking.
    pub(crate) fn verify(&self, file: &FloorFile) -> io::Result<bool> {
        match file.verify() {
            Ok(()) => Ok(true),
            Err(error) if says_damage(&error) => {
                let index = file.header.applied.index;
                self.set_aside(&mut self.known(), index, &error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Kept under another name, for a person to look at, as long as it is the last one.
    fn set_aside(&self, known: &mut Known, index: u64, error: &io::Error) {
        if known.headers.remove(&index).is_none() {
            return;
        }
        let path = self.path(index);
        tracing::error!(path = %path.display(), %error, "a floor checkpoint cannot be used");
        let aside = self.directory.join(DAMAGED);
        if let Err(error) = std::fs::rename(&path, aside)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "it could not be set aside");
        }
    }

    /// Where one of this entry is to be written.
    pub(crate) fn new_floor(&self, index: u64) -> NewFloor {
        let path = self.path(index);
        NewFloor::new(path.with_extension(UNFINISHED), path)
    }

    /// Takes in one that has been written, and removes one of those that are closest together.
    /// Never the newest, the one that the log begins at, or one that it is being purged to.
    pub(crate) fn written(&self, index: u64) -> io::Result<()> {
        let mut known = self.known();
        let file = FloorFile::open(&self.path(index))?;
        known.headers.insert(index, file.header);
        // Those before it cannot be used any more: the entries after them are gone.
        let begin = known.purged.map_or(0, |purged| purged.index);
        let needed = known.headers.range(..=begin).next_back();
        if let Some(needed) = needed.map(|(index, _)| *index) {
            let kept = known.headers.split_off(&needed);
            for index in std::mem::replace(&mut known.headers, kept).into_keys() {
                std::fs::remove_file(self.path(index))?;
            }
            return self.thin(&mut known, 1);
        }
        self.thin(&mut known, 0)
    }

    fn thin(&self, known: &mut Known, kept_first: usize) -> io::Result<()> {
        let pinned = known.pinned;
        while known.headers.len() > FLOORS_MAX {
            let indexes: Vec<u64> = known.headers.keys().copied().collect();
            let between = indexes.windows(3).skip(kept_first.saturating_sub(1));
            let between = between.filter(|three| three.get(1) != Some(&pinned));
            let gap = |three: &&[u64]| match three {
                [before, _, after] => after - before,
                _ => u64::MAX,
            };
            let Some([_, closest, _]) = between.min_by_key(gap) else {
                return Ok(());
            };
            known.headers.remove(closest);
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
        let others = std::mem::take(&mut known.headers);
        known.headers.insert(index, file.header.clone());
        known.purged = Some(file.header.applied);
        for other in others.into_keys().filter(|other| *other != index) {
            std::fs::remove_file(self.path(other))?;
        }
        Ok(())
    }
}

/// True when bytes are not what was written, or not there: trying again is of no use.
fn says_damage(error: &io::Error) -> bool {
    let damaged = matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
    );
    damaged || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::StoredMembership;

    fn write(floors: &Floors, index: u64) {
        let header = FloorHeader {
            applied: LogId::new_term_index(1, index),
            membership: StoredMembership::default(),
        };
        let mut writer = floors.new_floor(index).begin(&header).unwrap();
        writer.record(b"key", &[7; 5_000]).unwrap();
        writer.finish().unwrap();
        floors.written(index).unwrap();
    }

    fn index(file: io::Result<Option<FloorFile>>) -> Option<u64> {
        file.unwrap().map(|file| file.header.applied.index)
    }

    #[test]
    fn the_one_that_the_log_is_purged_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let floors = Floors::open(directory.path()).unwrap();
        for number in 1..=4 {
            write(&floors, number * 100);
        }
        assert_eq!(index(floors.to_purge_to(250)), Some(200));
        // Of all that follow, it is the one closest to its neighbours.
        for number in 0..30 {
            write(&floors, 1_000 + number * 1_000);
        }
        floors.purged(Some(LogId::new_term_index(1, 200)));
        write(&floors, 100_000);
        assert_eq!(index(floors.latest_upto(250)), Some(200));
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(files <= FLOORS_MAX, "{files}");
    }

    #[test]
    fn a_damaged_one_is_not_handed_out_again_and_an_older_one_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let floors = Floors::open(directory.path()).unwrap();
        for number in 1..=4 {
            write(&floors, number * 100);
        }
        let damage = |index, at| {
            let path = floors.path(index);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        };
        damage(400, 3);
        assert_eq!(index(floors.latest_upto(450)), Some(300));
        damage(300, 1_000);
        let file = floors.latest_upto(450).unwrap().unwrap();
        assert!(!floors.verify(&file).unwrap());
        assert_eq!(index(floors.latest_upto(450)), Some(200));
        std::fs::remove_file(floors.path(200)).unwrap();
        assert_eq!(index(floors.to_purge_to(450)), Some(100));
        // What lies before the log's beginning is of no use: then there is none.
        floors.purged(Some(LogId::new_term_index(1, 150)));
        let lost = floors.latest_upto(450).unwrap().unwrap();
        assert_eq!(lost.header.applied.index, 150);
        assert!(lost.verify().is_err() && lost.bytes().is_err());
        assert_eq!(index(floors.to_purge_to(450)), None);
    }
}
