//! Segments go only when nothing needs them, whenever the process or the power ends.

use std::sync::Arc;
use std::time::Duration;

use super::super::{EntryId, Vote, Wal};
use super::held::HeldDisk;
use super::{OPTIONS, append, entry, open};

const PURGED: EntryId = EntryId { term: 1, index: 90 };

/// A log with a hundred entries, most of them in full segments.
fn full_segments(directory: &std::path::Path, disk: &HeldDisk) -> Wal {
    let fatal = Arc::new(|_: &std::io::Error| {});
    let wal = Wal::open(directory, OPTIONS, Arc::new(disk.clone()), fatal).unwrap();
    for index in 0..100 {
        append(&wal, 0, vec![entry(1, index, vec![7; 500])]).unwrap();
    }
    wal
}

#[test]
fn a_purge_that_is_not_durable_removes_nothing() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), HeldDisk::default());
    let wal = full_segments(directory.path(), &disk);
    disk.hold();
    wal.purge(0, PURGED, Box::new(drop)).unwrap();
    let removed = wal.remove_purged();
    disk.lose_all_but(0);
    drop(wal);
    assert_eq!(removed.unwrap(), 0);
    let wal = open(directory.path()).unwrap();
    assert_eq!((wal.purged(0), wal.begin(0)), (None, 0));
    assert!(wal.reader().entry(0, 0).unwrap().is_some());
}

#[test]
fn a_durable_purge_removes_what_nothing_needs() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), HeldDisk::default());
    let wal = full_segments(directory.path(), &disk);
    let (sender, receiver) = std::sync::mpsc::channel();
    let flushed = Box::new(move |result| sender.send(result).unwrap());
    wal.purge(0, PURGED, flushed).unwrap();
    let purged = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    purged.unwrap();
    assert!(wal.remove_purged().unwrap() > 0);
    drop(wal);
    let wal = open(directory.path()).unwrap();
    assert_eq!((wal.purged(0), wal.begin(0)), (Some(PURGED), 91));
    assert!(wal.reader().entry(0, 91).unwrap().is_some());
}

/// A crash brings back what was cut off, when nothing of what is in its place is on the disk.
#[test]
fn what_is_replaced_stays_until_its_replacement_is_durable() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), HeldDisk::default());
    let wal = full_segments(directory.path(), &disk);
    disk.hold();
    wal.truncate(0, None).unwrap();
    for index in 0..100 {
        let other = vec![entry(2, index, vec![8; 500])];
        wal.append(0, other, Box::new(drop)).unwrap();
    }
    let removed = wal.remove_purged();
    disk.lose_all_but(0);
    drop(wal);
    assert_eq!(removed.unwrap(), 0);
    let wal = open(directory.path()).unwrap();
    for index in 0..100 {
        let found = wal.reader().entry(0, index).unwrap().unwrap();
        assert_eq!(found.term, 1, "entry {index}");
    }
}

/// A group's vote may be older than every entry that is left.
#[test]
fn what_is_no_entry_outlives_its_segment() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), HeldDisk::default());
    let fatal = Arc::new(|_: &std::io::Error| {});
    let wal = Wal::open(directory.path(), OPTIONS, Arc::new(disk), fatal).unwrap();
    let vote = Vote {
        term: 1,
        node: 3,
        committed: true,
    };
    wal.save_vote(0, vote, Box::new(drop)).unwrap();
    for index in 0..100 {
        append(&wal, 0, vec![entry(1, index, vec![7; 500])]).unwrap();
    }
    let last = wal.last(0).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let flushed = Box::new(move |result| sender.send(result).unwrap());
    wal.purge(0, last, flushed).unwrap();
    let purged = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    purged.unwrap();
    assert!(wal.remove_purged().unwrap() > 0);
    drop(wal);
    let wal = open(directory.path()).unwrap();
    assert_eq!((wal.vote(0), wal.purged(0)), (Some(vote), Some(last)));
}
