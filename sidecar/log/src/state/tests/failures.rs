//! Checkpoints on a disk that fails, and passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use outrigger_core::guard::{Input, Mode};
use outrigger_core::half_message::Verdict;

use super::{Limits, Subject};
use crate::apply::{Apply as _, Checkpoint as _};
use crate::command::{Command, NewMessage, ProducerSequence, TopicId, TransactionId};
use crate::derived::{Changes, Store, Table};

/// Something of everything that a checkpoint writes.
fn commands(number: u64) -> Vec<Command> {
    let message = |topic, deliver_at_ms| NewMessage {
        destination: TopicId(topic).into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms,
        from_fence: false,
        stored: Bytes::from(format!("message {number}")),
    };
    let send = |topic, deliver_at_ms, sequence| Command::Send {
        message: message(topic, deliver_at_ms),
        sequence,
    };
    let prepare = |id| Command::Prepare {
        id: TransactionId(id),
        producer_group: "orders".to_owned(),
        fingerprint: 1,
        messages: vec![message(0, 0)],
    };
    let resolve = |id| Command::Resolve {
        id: TransactionId(id),
        verdict: Verdict::Commit,
        replacements: Vec::new(),
    };
    let guard = Input::Acquire {
        mode: Mode::Record,
        token: "a".to_owned(),
        fingerprint: Bytes::new(),
        lease_ms: 1_000,
    };
    let id = u128::from(number) * 10;
    vec![
        Command::CreateTopic {
            name: "orders".to_owned(),
            queues: 1,
            durability: Default::default(),
        },
        Command::CreateTopic {
            name: format!("topic-{number}"),
            queues: 1,
            durability: Default::default(),
        },
        send(0, 0, None),
        send(number as u32 + 1, 0, None),
        send(
            0,
            1_000_000 + number,
            Some(ProducerSequence::dense(1, 1, number + 1)),
        ),
        prepare(id),
        prepare(id + 1),
        prepare(id + 2),
        // Waits for ever.
        prepare(id + 3),
        resolve(id),
        resolve(id + 1),
        // What an earlier entry left waiting, if there was one.
        resolve(id.saturating_sub(8)),
        Command::Guard {
            scope: "scope".to_owned(),
            key: format!("{}", number / 2).into(),
            input: guard,
        },
    ]
}

fn fail(subject: &mut Subject) -> String {
    let checkpoint = subject.state.begin_checkpoint().unwrap();
    let error = checkpoint.write(None).unwrap_err();
    subject.state.end_checkpoint(false);
    error.to_string()
}

/// Entries go on while checkpoints fail; then the disk is well again. Nothing is lost in the
/// checkpoint that comes then, nor when the crash comes before it.
fn survives(break_it: impl Fn(&Subject), heal: impl Fn(&Subject)) {
    for checkpoints_before in 0..2 {
        for crash_while_broken in [false, true] {
            let mut subject = Subject::new(Limits::default());
            let mut untouched = Subject::new(Limits::default());
            let mut number = 0;
            let mut go_on = |subject: &mut Subject| {
                let outcomes = subject.submit(number + 1, &commands(number));
                assert_eq!(untouched.submit(number + 1, &commands(number)), outcomes);
                number += 1;
                untouched.digest()
            };
            go_on(&mut subject);
            for _ in 0..checkpoints_before {
                subject.checkpoint();
                go_on(&mut subject);
            }
            break_it(&subject);
            for _ in 0..3 {
                let before = subject.state.unwritten_records();
                fail(&mut subject);
                // What is new counts twice when it was resolved as well.
                assert!(subject.state.unwritten_records() >= before / 2);
                let expected = go_on(&mut subject);
                assert_eq!(subject.digest(), expected, "while it fails");
            }
            heal(&subject);
            if crash_while_broken {
                subject = subject.crash();
            }
            let expected = go_on(&mut subject);
            subject.checkpoint();
            assert_eq!(subject.state.unwritten_records(), 0);
            assert_eq!(subject.digest(), expected, "after a checkpoint");
            let applied = subject.state.applied();
            let subject = subject.crash();
            assert_eq!(subject.state.applied(), applied);
            assert_eq!(subject.digest(), expected, "after a crash");
        }
    }
}

/// Directories where files are going to be made. What is there can still be read.
fn block(paths: impl Iterator<Item = PathBuf>) {
    paths.for_each(|path| fs::create_dir(path).unwrap());
}

fn unblock(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir(path).unwrap();
        }
    }
}

#[test]
fn a_queue_index_that_cannot_be_written_loses_nothing() {
    let index = |subject: &Subject| subject.path().join("index");
    survives(
        |subject| {
            // Queues that were made before can be written, so that it fails in the middle.
            let last = subject.state.shared().topics().len() - 1;
            let name = |topic| format!("{topic:010}-0000-00000000.index");
            block((last..last + 9).map(|topic| index(subject).join(name(topic))));
        },
        |subject| unblock(&index(subject)),
    );
}

/// No table of the store can be made, and there is no room to open it again.
fn block_store(subject: &Subject) {
    let tables = tables(subject);
    if tables.is_empty() {
        // Where there is no store yet, it cannot be made.
        fs::create_dir(subject.path().join("store.unfinished")).unwrap();
    }
    for directory in tables {
        let names = fs::read_dir(&directory).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        let numbers = names.map(|name| name.to_str().unwrap().parse::<u64>().unwrap());
        let next = numbers.max().map_or(0, |last| last + 1);
        block((next..next + 50).map(|number| directory.join(number.to_string())));
    }
    fs::create_dir(subject.path().join("store.room")).unwrap();
}

fn unblock_store(subject: &Subject) {
    let tables = tables(subject);
    if tables.is_empty() {
        fs::remove_dir(subject.path().join("store.unfinished")).unwrap();
    }
    tables.iter().for_each(|directory| unblock(directory));
    fs::remove_dir(subject.path().join("store.room")).unwrap();
}

fn tables(subject: &Subject) -> Vec<PathBuf> {
    let keyspaces = fs::read_dir(subject.path().join("store").join("keyspaces"));
    let keyspaces = keyspaces.into_iter().flatten();
    let tables = keyspaces.map(|keyspace| keyspace.unwrap().path().join("tables"));
    tables.collect()
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    survives(block_store, unblock_store);
}

#[test]
fn a_store_that_gave_up_in_the_background_is_opened_again() {
    let mut subject = Subject::new(Limits::default());
    subject.submit(1, &commands(0));
    subject.checkpoint();
    subject.submit(2, &commands(1));
    block_store(&subject);
    subject.state.shared().flush_in_the_background();
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        fail(&mut subject);
    }
    unblock_store(&subject);
    subject.submit(3, &commands(2));
    let expected = subject.digest();
    subject.checkpoint();
    let applied = subject.state.applied();
    let subject = subject.crash();
    assert_eq!(subject.state.applied(), applied);
    assert_eq!(subject.digest(), expected);
}

#[test]
fn a_store_whose_making_was_interrupted_is_made_again() {
    let mut subject = Subject::new(Limits::default());
    subject.submit(1, &commands(0));
    // As after a kill: some files are there, and what marks a whole store is not.
    let store = subject.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("0.jnl"), "").unwrap();
    fs::write(store.with_extension("unfinished"), "").unwrap();
    subject = subject.crash();
    let expected = subject.digest();
    subject.checkpoint();
    let applied = subject.state.applied();
    let subject = subject.crash();
    assert_eq!(subject.state.applied(), applied);
    assert_eq!(subject.digest(), expected);
}

#[test]
fn the_old_state_is_closed_before_an_installed_one_takes_its_place() {
    let mut subject = Subject::new(Limits::default());
    let topic = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: 1,
        durability: Default::default(),
    };
    subject.submit(1, &[topic]);
    let (_, floor) = subject.checkpoint_with_floor().unwrap();
    // Somebody still uses it.
    let old = subject.state.shared().store();
    let digest = subject.digest();
    let import = subject.state.import();
    import(floor).unwrap();
    subject.state.install().unwrap();
    assert_eq!(subject.digest(), digest);
    // Nobody holds what was set aside, and the old store is not opened in the new one's place.
    let aside = subject.path().with_extension("discarded").join("store");
    Store::open(&aside).unwrap();
    assert!(old.get(Table::Meta, &[]).is_err());
    assert!(old.commit(Changes::default(), 0).is_err());
}
