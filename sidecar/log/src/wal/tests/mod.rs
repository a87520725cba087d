mod damage;
pub(crate) mod faulty;
mod full_disk;
pub(crate) mod held;
mod model;
mod removing;
mod terms;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;

use super::disk::Disk;
use super::{EntryId, Kind, NewEntry, OsDisk, Wal, WalOpenError, WalOptions};

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 16 << 10,
    first_segment_bytes: 4 << 10,
    tail_cache_bytes_max: 2 << 10,
    owner: 7,
};

fn open_on(directory: &Path, disk: Arc<dyn Disk>) -> Result<Wal, WalOpenError> {
    let fatal = Arc::new(|error: &std::io::Error| panic!("{error}"));
    Wal::open(directory, OPTIONS, disk, fatal)
}

pub(crate) fn open(directory: &Path) -> Result<Wal, WalOpenError> {
    open_on(directory, Arc::new(OsDisk))
}

pub(crate) fn entry(term: u64, index: u64, body: impl Into<Bytes>) -> NewEntry {
    NewEntry {
        kind: Kind::Normal,
        id: EntryId { term, index },
        body: body.into(),
    }
}

/// Appends and waits for the sync; what is waited for is one batch.
pub(crate) fn append(wal: &Wal, group: u32, entries: Vec<NewEntry>) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let flushed = Box::new(move |result| sender.send(result).unwrap());
    wal.append(group, entries, flushed)?;
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn segment_path(directory: &Path, sequence: u32) -> std::path::PathBuf {
    super::segment::path_of(directory, sequence)
}
