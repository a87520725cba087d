//! What the state machine keeps does not depend on where a node's files have the entries.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;

use super::State;
use crate::apply::{Applied, Apply as _, Checkpoint as _};
use crate::command::{Batch, Command, NewMessage, TopicId, TransactionId};
use crate::raft::LogId;
use crate::wal::tests::{append, entry, open};
use crate::wal::{EntryId, Vote, Wal};

/// Another group of the same node.
const NEIGHBOUR: u32 = 1;
const ENTRIES: u64 = 120;

fn message(number: u64, deliver_at_ms: u64) -> NewMessage {
    NewMessage {
        destination: TopicId(0).into(),
        key_hash: number,
        tag_hash: 0,
        deliver_at_ms,
        from_fence: false,
        stored: Bytes::from(format!("message {number:0200}")),
    }
}

fn body(index: u64) -> Bytes {
    let send = |deliver_at_ms| Command::Send {
        message: message(index, deliver_at_ms),
        sequence: None,
    };
    let commands = match index % 4 {
        0 => vec![Command::CreateTopic {
            name: "orders".to_owned(),
            queues: 3,
            durability: Default::default(),
        }],
        1 => vec![send(0), send(index + 9), send(1_000_000)],
        2 => vec![Command::Prepare {
            id: TransactionId(u128::from(index)),
            producer_group: "orders".to_owned(),
            fingerprint: 1,
            messages: vec![message(index, 0)],
        }],
        // Half of the transactions go on waiting.
        _ => vec![
            Command::Due { until_ms: index },
            Command::Resolve {
                id: TransactionId(u128::from(index / 8 * 8 + 2)),
                verdict: Verdict::Commit,
                replacements: Vec::new(),
            },
        ],
    };
    Batch::encode(index, &commands)
}

/// What else a node writes: votes, commit positions, entries of another group, and entries
/// that are cut off again.
fn disturb(wal: &Wal, index: u64) {
    let term = index + 1;
    let vote = Vote {
        term,
        node: 2,
        committed: false,
    };
    wal.save_vote(0, vote, Box::new(|_| ())).unwrap();
    if let Some(last) = wal.last(0) {
        let cut_off = (index..index + 3).map(|index| entry(term, index, vec![9; 300]));
        append(wal, 0, cut_off.collect()).unwrap();
        wal.truncate(0, Some(last)).unwrap();
        wal.save_committed(0, last);
    }
    let next = wal.last(NEIGHBOUR).map_or(0, |last| last.index + 1);
    append(wal, NEIGHBOUR, vec![entry(1, next, vec![8; 77])]).unwrap();
}

fn apply(wal: &Wal, state: &mut State) {
    for index in 0..ENTRIES {
        let entry = wal.reader().entry(0, index).unwrap().unwrap();
        let applied = Applied {
            log_id: LogId::new(entry.term.into(), index),
            body: &entry.body,
        };
        state.apply(applied).unwrap();
        if index == ENTRIES / 2 {
            state.begin_checkpoint().unwrap().write(None).unwrap();
            state.end_checkpoint(true);
        }
    }
}

/// The bytes that consumers are sent.
fn visible(wal: &Wal, state: &State) -> Vec<Bytes> {
    let shared = state.shared();
    let mut entries = Vec::new();
    for queue in 0..3 {
        shared
            .index(TopicId(0), queue, 0, usize::MAX, &mut entries)
            .unwrap();
    }
    let places = entries.iter().map(|entry| (entry.place, entry.length));
    wal.reader().read_all(0, places).unwrap()
}

#[test]
fn equal_entries_at_other_positions_give_equal_state() {
    let mut nodes = Vec::new();
    for disturbed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wal");
        std::fs::create_dir(&path).unwrap();
        let wal = open(&path).unwrap();
        for index in 0..ENTRIES {
            if disturbed && index % 3 != 1 {
                disturb(&wal, index);
            }
            append(&wal, 0, vec![entry(1, index, body(index))]).unwrap();
        }
        assert_eq!(
            wal.last(0).unwrap(),
            EntryId {
                term: 1,
                index: ENTRIES - 1
            }
        );
        let derived = directory.path().join("derived");
        let mut state = State::open(&derived).unwrap();
        apply(&wal, &mut state);
        nodes.push((directory, wal, state));
    }
    let [(_, left_wal, left), (_, right_wal, right)] = &nodes[..] else {
        panic!("two nodes");
    };
    let digest = |state: &State| state.shared().digest().unwrap();
    assert_eq!(digest(left), digest(right));
    let read = visible(left_wal, left);
    assert!(read.len() > 60, "{}", read.len());
    assert!(read.iter().all(|bytes| bytes.starts_with(b"message ")));
    assert_eq!(read, visible(right_wal, right));
    assert_ne!(
        left_wal.reader().entry(0, 9).unwrap(),
        right_wal.reader().entry(0, 9).unwrap(),
        "the positions differ"
    );
}
