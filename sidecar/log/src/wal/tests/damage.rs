//! Ends that are torn, and damage that is not at the end.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::super::{ReadError, Wal, WalOpenError, group::EntryId};
use super::faulty::FaultyDisk;
use super::{append, entry, open, segment_path};
use crate::place::Place;

/// A copy of the directory to damage.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    to
}

fn bodies(wal: &Wal) -> Vec<String> {
    let last = wal.last(0).map_or(0, |id| id.index + 1);
    let body = |index| wal.reader().entry(0, index).unwrap().unwrap().body;
    (0..last)
        .map(|index| String::from_utf8(body(index).to_vec()).unwrap())
        .collect()
}

/// Where the records of the first segment end.
fn used_bytes(directory: &Path) -> usize {
    let bytes = fs::read(segment_path(directory, 1)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    used.next_multiple_of(8)
}

fn three_batches() -> (tempfile::TempDir, [usize; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path()).unwrap();
    let mut ends = [0; 3];
    for (batch, end) in ends.iter_mut().enumerate() {
        let first = batch as u64 * 2;
        let body = |index| format!("entry number {index}");
        append(
            &wal,
            0,
            vec![
                entry(1, first, body(first)),
                entry(1, first + 1, body(first + 1)),
            ],
        )
        .unwrap();
        *end = used_bytes(directory.path());
    }
    wal.close();
    assert_eq!(used_bytes(directory.path()), ends[2]);
    (directory, ends)
}

#[test]
fn a_torn_last_batch_is_cut_at_any_byte_and_kept_aside() {
    let (directory, ends) = three_batches();
    let (start, end) = (ends[1], ends[2]);
    for cut in start..end {
        let torn = copy(directory.path());
        let path = segment_path(torn.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[cut..end].fill(0);
        fs::write(&path, &bytes).unwrap();
        let wal = open(torn.path()).unwrap();
        let found = bodies(&wal);
        assert!((4..=6).contains(&found.len()), "cut at {cut}: {found:?}");
        assert!(found.len() < 6 || cut > end - 8, "cut at {cut}");

        // New entries take the place of the torn ones, and nothing old comes back.
        let next = found.len() as u64;
        append(&wal, 0, vec![entry(2, next, "new")]).unwrap();
        wal.close();
        let wal = open(torn.path()).unwrap();
        let mut expected = found;
        expected.push("new".to_owned());
        assert_eq!(bodies(&wal), expected, "cut at {cut}");
        wal.close();
    }
}

#[test]
fn a_batch_of_which_only_later_parts_arrived_is_cut_and_kept_aside() {
    let (directory, ends) = three_batches();
    let path = segment_path(directory.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[1]..ends[1] + 16].fill(0);
    fs::write(&path, &bytes).unwrap();
    let wal = open(directory.path()).unwrap();
    assert_eq!(bodies(&wal).len(), 4);
    let kept: Vec<_> = fs::read_dir(directory.path().join("quarantine"))
        .unwrap()
        .collect();
    assert_eq!(kept.len(), 1);
    let kept = fs::read(kept[0].as_ref().unwrap().path()).unwrap();
    assert_eq!(kept, bytes[ends[1]..ends[1] + kept.len()]);
    drop(wal);
    assert_eq!(used_bytes(directory.path()), ends[1]);
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_refused_and_nothing_is_changed() {
    let (directory, ends) = three_batches();
    for at in 0..ends[1] {
        if (36..64).contains(&at) {
            // Unused bytes of the segment's header.
            continue;
        }
        let damaged = copy(directory.path());
        let path = segment_path(damaged.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        match open(damaged.path()) {
            Err(WalOpenError::CorruptSegment { segment: 1, .. })
            | Err(WalOpenError::Version { segment: 1, .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
            // Bytes between a body and the next record say nothing.
            Ok(wal) => assert_eq!(bodies(&wal).len(), 6, "byte {at}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "byte {at}");
    }
}

#[test]
fn damage_in_full_segments_is_refused_or_seen_when_read() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path()).unwrap();
    for index in 0..60 {
        append(&wal, 0, vec![entry(1, index, format!("{index:0300}"))]).unwrap();
    }
    wal.close();
    assert!(segment_path(directory.path(), 3).exists());

    // The trailer and the seal are needed to open.
    let damaged = copy(directory.path());
    let path = segment_path(damaged.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open(damaged.path()).err().unwrap();
    assert!(
        matches!(error, WalOpenError::CorruptSegment { segment: 1, .. }),
        "{error}"
    );

    // An entry is verified when it is read.
    let damaged = copy(directory.path());
    let path = segment_path(damaged.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[64 + 32 + 100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let wal = open(damaged.path()).unwrap();
    let error = wal.reader().entry(0, 0).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Corrupt {
                segment: 1,
                offset: 64
            }
        ),
        "{error}"
    );
    let place = Place {
        index: 0,
        offset: 0,
    };
    let error = wal.reader().read(0, place, 10).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Corrupt {
                segment: 1,
                offset: 64
            }
        ),
        "{error}"
    );
    assert!(wal.reader().entry(0, 1).unwrap().is_some());

    // A segment that is not there.
    let damaged = copy(directory.path());
    fs::remove_file(segment_path(damaged.path(), 2)).unwrap();
    let error = open(damaged.path()).err().unwrap();
    assert!(
        matches!(error, WalOpenError::MissingSegment { segment: 2, .. }),
        "{error}"
    );

    // The first batch of the newest segment, which the seal before it makes known.
    let damaged = copy(directory.path());
    let is_used = |sequence: &u32| {
        let segment = fs::read(segment_path(damaged.path(), *sequence));
        segment.is_ok_and(|bytes| bytes[64] != 0)
    };
    let newest = (1..).take_while(is_used).last().unwrap();
    let path = segment_path(damaged.path(), newest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[64..96].fill(0);
    fs::write(&path, &bytes).unwrap();
    let error = open(damaged.path()).err().unwrap();
    assert!(
        matches!(error, WalOpenError::CorruptSegment { .. }),
        "{error}"
    );
}

#[test]
fn a_segment_of_another_node_is_refused() {
    let (directory, _) = three_batches();
    let options = super::WalOptions {
        owner: 8,
        ..super::OPTIONS
    };
    let fatal = std::sync::Arc::new(|_: &std::io::Error| ());
    let disk = std::sync::Arc::new(super::OsDisk);
    let error = Wal::open(directory.path(), options, disk, fatal)
        .err()
        .unwrap();
    assert!(
        matches!(error, WalOpenError::ForeignSegment { segment: 1, .. }),
        "{error}"
    );
}

#[test]
fn what_was_truncated_stays_away() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path()).unwrap();
    let old = |index| entry(1, index, format!("old {index:0200}"));
    for index in 0..100 {
        append(&wal, 0, vec![old(index)]).unwrap();
    }
    let after = EntryId { term: 1, index: 9 };
    wal.truncate(0, Some(after)).unwrap();
    append(&wal, 0, vec![entry(2, 10, "new")]).unwrap();
    wal.close();
    let wal = open(directory.path()).unwrap();
    assert_eq!(wal.last(0), Some(EntryId { term: 2, index: 10 }));
    assert_eq!(wal.reader().entry(0, 10).unwrap().unwrap().body, "new");
    assert_eq!(wal.reader().entry(0, 11).unwrap(), None);
}

#[test]
fn damage_that_a_read_finds_is_fatal_and_remembered_where_others_have_the_entry() {
    let (directory, ends) = three_batches();
    let path = segment_path(directory.path(), 1);
    let mut options = super::OPTIONS;
    options.tail_cache_bytes_max = 0;
    let (told, fatal) = std::sync::mpsc::channel();
    let on_fatal = std::sync::Arc::new(move |error: &std::io::Error| {
        told.send(error.to_string()).unwrap();
    });
    let disk = std::sync::Arc::new(crate::wal::OsDisk);
    let wal = Wal::open(directory.path(), options, disk, on_fatal).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[1] - 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let read = |wal: &Wal| wal.reader().entry(0, 3);
    assert!(matches!(read(&wal), Err(ReadError::Corrupt { .. })));
    assert!(
        fatal.try_recv().is_err(),
        "a node alone goes on with the rest"
    );
    wal.replace_when_damaged();
    assert!(matches!(read(&wal), Err(ReadError::Corrupt { .. })));
    assert!(fatal.try_recv().unwrap().contains("damaged"));
    drop(wal);
    // Even when the bytes are right again, nobody knows what else is not.
    bytes[ends[1] - 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = open(directory.path()).map(drop).unwrap_err();
    assert!(
        matches!(refused, WalOpenError::CorruptSegment { segment: 1, .. }),
        "{refused}"
    );
}

#[test]
fn what_cannot_be_read_is_as_good_as_damaged_where_others_have_the_entry() {
    let (directory, _) = three_batches();
    let mut options = super::OPTIONS;
    options.tail_cache_bytes_max = 0;
    let disk = FaultyDisk::default();
    let (told, fatal) = std::sync::mpsc::channel();
    let on_fatal = std::sync::Arc::new(move |error: &std::io::Error| {
        told.send(error.to_string()).unwrap();
    });
    let on_disk = std::sync::Arc::new(disk.clone());
    let wal = Wal::open(directory.path(), options, on_disk.clone(), on_fatal).unwrap();
    disk.unreadable.store(true, Ordering::SeqCst);
    let read = |wal: &Wal| wal.reader().entry(0, 3);
    assert!(matches!(read(&wal), Err(ReadError::Io { .. })));
    assert!(
        fatal.try_recv().is_err(),
        "a node alone goes on with the rest"
    );
    wal.replace_when_damaged();
    assert!(matches!(read(&wal), Err(ReadError::Io { .. })));
    assert!(fatal.try_recv().unwrap().contains("damaged"));
    drop(wal);
    disk.unreadable.store(false, Ordering::SeqCst);
    let refused = open(directory.path()).map(drop).unwrap_err();
    let is_damage = |error: &WalOpenError| matches!(error, WalOpenError::CorruptSegment { .. });
    assert!(is_damage(&refused), "{refused}");

    // The same when a start finds it.
    let (directory, _) = three_batches();
    disk.unreadable.store(true, Ordering::SeqCst);
    let refused = super::open_on(directory.path(), on_disk).err().unwrap();
    assert!(is_damage(&refused), "{refused}");
}
