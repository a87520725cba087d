use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::{Wal, group::EntryId};
use super::faulty::FaultyDisk;
use super::{OPTIONS, append, entry, open, open_on};

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_disk_is_seen_before_it_hurts_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(directory.path(), Arc::new(disk.clone())).unwrap();
    wait_until("the second segment", || {
        super::segment_path(directory.path(), 2).exists()
    });
    disk.full.store(true, Ordering::SeqCst);
    // The first segment fills up, the second one is there, the third cannot be made.
    let mut index = 0;
    while !wal.no_space() {
        append(&wal, 0, vec![entry(1, index, vec![1; 300])]).unwrap();
        index += 1;
        assert!(index < 100, "a full disk was not noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    // What is on its way still has room, and what was acknowledged is there.
    append(&wal, 0, vec![entry(1, index, vec![2; 300])]).unwrap();
    assert_eq!(wal.durable(0), Some(EntryId { term: 1, index }));
    disk.full.store(false, Ordering::SeqCst);
    wait_until("space", || !wal.no_space());
    for more in 1..200 {
        append(&wal, 0, vec![entry(1, index + more, vec![3; 300])]).unwrap();
    }
    wal.close();
    let wal = open(directory.path()).unwrap();
    for expected in 0..index + 200 {
        let found = wal.reader().entry(0, expected).unwrap().unwrap();
        assert_eq!(found.body.len(), 300);
    }
}

#[test]
fn closing_on_a_full_disk_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    disk.full.store(false, Ordering::SeqCst);
    let wal = open_on(directory.path(), Arc::new(disk.clone())).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let acknowledged = Arc::new(Mutex::new(0));
    for index in 0..200 {
        let acknowledged = Arc::clone(&acknowledged);
        let flushed = Box::new(move |result: std::io::Result<()>| {
            if result.is_ok() {
                *acknowledged.lock().unwrap() = index + 1;
            }
        });
        wal.append(0, vec![entry(1, index, vec![1; 300])], flushed)
            .unwrap();
    }
    wal.close();
    let acknowledged = *acknowledged.lock().unwrap();
    assert!(acknowledged < 200);
    let wal = open(directory.path()).unwrap();
    for index in 0..acknowledged {
        assert!(wal.reader().entry(0, index).unwrap().is_some());
    }
}

#[test]
fn a_failed_sync_is_fatal_and_is_never_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let fatal = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&fatal);
    // The real one aborts the process.
    let on_fatal = Arc::new(move |_: &std::io::Error| *counted.lock().unwrap() += 1);
    let wal = Wal::open(directory.path(), OPTIONS, Arc::new(disk.clone()), on_fatal).unwrap();
    append(&wal, 0, vec![entry(1, 0, "durable")]).unwrap();
    wait_until("the second segment", || {
        super::segment_path(directory.path(), 2).exists()
    });
    disk.fail_next_sync.store(true, Ordering::SeqCst);
    append(&wal, 0, vec![entry(1, 1, "unknown")]).unwrap_err();
    assert_eq!(*fatal.lock().unwrap(), 1);
    assert!(wal.has_failed());
    wal.append(0, vec![entry(1, 2, "refused")], Box::new(|_| ()))
        .unwrap_err();
    assert_eq!(wal.durable(0), Some(EntryId { term: 1, index: 0 }));
}
