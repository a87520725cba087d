//! Terms of what was purged and of what was there before.

use std::sync::mpsc;

use super::super::{Wal, group::EntryId};
use super::{append, entry, open};

fn purge(wal: &Wal, upto: EntryId) {
    let (sender, receiver) = mpsc::channel();
    let flushed = Box::new(move |result| sender.send(result).unwrap());
    wal.purge(0, upto, flushed).unwrap();
    receiver.recv().unwrap().unwrap();
}

/// A state of an older term came from elsewhere, and what only this node had is of a newer one.
#[test]
fn a_log_goes_on_after_what_was_purged_whatever_term_that_is_of() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path()).unwrap();
    for index in 0..=9 {
        append(&wal, 0, vec![entry(7, index, "newer")]).unwrap();
    }
    let purged = EntryId { term: 6, index: 20 };
    purge(&wal, purged);
    assert_eq!((wal.last(0), wal.purged(0)), (Some(purged), Some(purged)));
    wal.close();
    let wal = open(directory.path()).unwrap();
    assert_eq!((wal.last(0), wal.purged(0)), (Some(purged), Some(purged)));
    append(&wal, 0, vec![entry(8, 21, "next")]).unwrap();
    // Purging what is gone already changes nothing, whatever its term is.
    purge(&wal, EntryId { term: 7, index: 5 });
    assert_eq!(wal.purged(0), Some(purged));
    wal.close();
    let wal = open(directory.path()).unwrap();
    assert_eq!(wal.begin(0), 21);
    assert_eq!(wal.reader().entry(0, 21).unwrap().unwrap().term, 8);
}
