//! One node, stopped and started again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use outrigger_core::lease::Event;

use super::fake::Counting;
use crate::blocking::Blocking;
use crate::command::{Batch, Command, ConsumerGroupId, NewMessage, Outcome, TopicId};
use crate::floor::{FloorHeader, Floors};
use crate::raft::log_store;
use crate::raft::{
    CheckpointLimits, DiskLimits, DiskWatch, LogId, Node, NodeOptions, RetentionLimits, Timing,
};
use crate::submit::{Limits, SubmitError, WallClock};
use crate::wal::disk::Disk;
use crate::wal::tests::faulty::FaultyDisk;
use crate::wal::{OsDisk, Wal, WalOptions};

pub(super) fn wal(directory: &Path) -> Arc<Wal> {
    wal_on(directory, Arc::new(OsDisk))
}

fn wal_on(directory: &Path, disk: Arc<dyn Disk>) -> Arc<Wal> {
    let options = WalOptions {
        segment_bytes: 1 << 20,
        first_segment_bytes: 256 << 10,
        tail_cache_bytes_max: 64 << 10,
        owner: 7,
    };
    let fatal = Arc::new(|error: &std::io::Error| panic!("{error}"));
    Arc::new(Wal::open(directory, options, disk, fatal).unwrap())
}

pub(super) const TIMING: Timing = Timing {
    heartbeat_interval_ms: 50,
    election_timeout_ms: 200,
};

pub(super) fn floors(directory: &Path) -> Arc<Floors> {
    Arc::new(Floors::open(&directory.join("floors")).unwrap())
}

pub(super) fn options() -> NodeOptions {
    NodeOptions {
        group: 0,
        node_id: 1,
        instance: 1,
        cluster: None,
        timing: TIMING,
        wall_clock: WallClock::default(),
        blocking: Blocking::default(),
        limits: crate::state::Limits::default(),
        submit: Limits {
            in_flight_bytes_max: 1 << 20,
            entry_bytes_max: 128 << 10,
            entry_bytes_target: 16 << 10,
        },
        checkpoint: CheckpointLimits {
            interval_bytes: 1 << 20,
            interval_ms: 1_000,
            records_max: 1 << 20,
            floor_interval_bytes: u64::MAX,
        },
        retention: RetentionLimits {
            retention_ms: u64::MAX,
            retention_bytes: None,
            interval_ms: 10,
        },
        disk: Arc::new(DiskWatch::new(
            Path::new("/"),
            DiskLimits {
                warn_percent: 101,
                expire_percent: 101,
                refuse_percent: 101,
            },
        )),
    }
}

pub(super) fn send(number: u32) -> Command {
    let message = NewMessage {
        destination: TopicId(1).into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from(format!("{number:0256}")),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

/// A command that is no message.
fn acknowledge() -> Command {
    Command::Progress {
        group: ConsumerGroupId(0),
        topic: TopicId(1),
        queue: 0,
        events: vec![Event::Acked { first: 0, last: 0 }; 16],
    }
}

async fn start(directory: &Path) -> (Node<Counting>, super::fake::Seen) {
    let state = Counting::default();
    let seen = Arc::clone(&state.seen);
    let node = Node::start(options(), wal(directory), state, floors(directory))
        .await
        .unwrap();
    (node, seen)
}

pub(super) fn numbers(seen: &super::fake::Seen) -> Vec<u32> {
    let mut numbers = Vec::new();
    for (_, body) in seen.lock().unwrap().iter() {
        let batch = Batch::decode(body).unwrap();
        for command in &batch.commands {
            if let crate::command::RecordedCommand::Send { message, .. } = command {
                let start = message.span.offset as usize;
                let stored = &body[start..start + message.span.length as usize];
                let text = std::str::from_utf8(stored).unwrap();
                numbers.push(text.parse().unwrap());
            }
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_applied_in_order_and_again_after_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut sent = 0_u32;
    let mut term = 0;
    for _ in 0..4 {
        let (node, seen) = start(directory.path()).await;
        assert_eq!(numbers(&seen), (0..sent).collect::<Vec<_>>());
        let status = node.status();
        assert!(
            status.term > term,
            "a restarted leader never goes on in its old term"
        );
        assert_eq!(status.leader, Some(1));
        term = status.term;
        let mut pending = Vec::new();
        for count in (1..=40).cycle().take(200) {
            let commands = (sent..sent + count).map(send).collect();
            match node.submit(commands) {
                Ok(answers) => {
                    sent += count;
                    pending.push((count, answers));
                }
                Err(SubmitError::Overloaded { .. }) => {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        for (count, answers) in pending {
            let outcomes = answers.await.unwrap();
            assert_eq!(outcomes, vec![Outcome::Applied; count as usize]);
        }
        assert_eq!(node.status().in_flight_bytes, 0);
        node.shutdown().await;
    }
    let (node, seen) = start(directory.path()).await;
    assert_eq!(numbers(&seen), (0..sent).collect::<Vec<_>>());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn derived_state_that_is_ahead_of_the_log_is_discarded_and_the_log_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = start(directory.path()).await;
    node.submit(vec![send(0), send(1)]).unwrap().await.unwrap();
    node.shutdown().await;

    let state = Counting {
        applied: Some(LogId::new_term_index(9, 1_000)),
        ..Counting::default()
    };
    let (seen, resets) = (Arc::clone(&state.seen), Arc::clone(&state.resets));
    let wal = wal(directory.path());
    let node = Node::start(options(), Arc::clone(&wal), state, floors(directory.path()))
        .await
        .unwrap();
    assert_eq!(*resets.lock().unwrap(), 1);
    assert_eq!(numbers(&seen), [0, 1]);
    assert_eq!(wal.purged(0), None);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_installed_just_before_a_crash_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = start(directory.path()).await;
    for number in 0..4 {
        node.submit(vec![send(number)]).unwrap().await.unwrap();
    }
    let membership = node
        .raft
        .metrics()
        .borrow_watched()
        .membership_config
        .clone();
    node.shutdown().await;
    // The log has been purged once before, so all of it can never be applied again.
    let wal = wal(directory.path());
    let before = LogId::new_term_index(1, 2);
    log_store::purge(&wal, 0, &before).await.unwrap();
    let last = wal.last(0).unwrap();
    let installed = LogId::new_term_index(last.term, last.index + 100);
    let floors = floors(directory.path());
    let header = FloorHeader {
        applied: installed,
        membership: (*membership).clone(),
    };
    let new = floors.new_floor(installed.index);
    new.begin(&header).unwrap().finish().unwrap();
    floors.written(installed.index).unwrap();

    let state = Counting {
        applied: Some(installed),
        membership: (*membership).clone(),
        ..Counting::default()
    };
    let (seen, resets) = (Arc::clone(&state.seen), Arc::clone(&state.resets));
    let node = Node::start(options(), Arc::clone(&wal), state, floors)
        .await
        .unwrap();
    assert_eq!(*resets.lock().unwrap(), 0);
    assert_eq!(wal.purged(0).unwrap().index, installed.index);
    node.submit(vec![send(9)]).unwrap().await.unwrap();
    assert_eq!(numbers(&seen), [9]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_cannot_apply_an_entry_does_not_look_alive() {
    let directory = tempfile::tempdir().unwrap();
    let (told, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let fatal = Arc::new(move |error: &std::io::Error| told.send(error.to_string()).unwrap());
    let options_of_log = WalOptions {
        segment_bytes: 1 << 20,
        first_segment_bytes: 256 << 10,
        tail_cache_bytes_max: 64 << 10,
        owner: 7,
    };
    let wal = Wal::open(directory.path(), options_of_log, Arc::new(OsDisk), fatal).unwrap();
    let state = Counting {
        fails_on: Some(send(1)),
        ..Counting::default()
    };
    let node = Node::start(options(), Arc::new(wal), state, floors(directory.path()))
        .await
        .unwrap();
    node.submit(vec![send(0)]).unwrap().await.unwrap();
    let unanswered = node.submit(vec![send(1)]).unwrap().await;
    assert_eq!(unanswered, Err(SubmitError::OutcomeUnknown));
    let failure = tokio::time::timeout(std::time::Duration::from_secs(5), failures.recv());
    let failure = failure.await.unwrap().unwrap();
    assert!(failure.contains("cannot be read"), "{failure}");
    node.shutdown().await;
    assert!(failures.try_recv().is_err(), "an ordered end is no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_refuse_without_losing_what_was_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (node, seen) = start(directory.path()).await;
    let large = |bytes: usize| Command::Send {
        message: NewMessage {
            destination: TopicId(1).into(),
            key_hash: 0,
            tag_hash: 0,
            deliver_at_ms: 0,
            from_fence: false,
            stored: Bytes::from(vec![b'0'; bytes]),
        },
        sequence: None,
    };
    let error = node.submit(vec![large(200 << 10)]).unwrap_err();
    assert!(
        matches!(
            error,
            SubmitError::TooLarge {
                limit_bytes: 131_072,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_retryable());
    assert_eq!(node.submit(Vec::new()).unwrap().await, Ok(Vec::new()));

    let mut pending = Vec::new();
    let mut refused = 0;
    for _ in 0..64 {
        match node.submit((0..4).map(|_| large(16 << 10)).collect()) {
            Ok(answers) => pending.push(answers),
            Err(error) => {
                assert!(matches!(error, SubmitError::Overloaded { .. }), "{error}");
                assert!(error.is_retryable());
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    let taken = pending.len() * 4;
    for answers in pending {
        assert_eq!(answers.await.unwrap().len(), 4);
    }
    assert_eq!(numbers(&seen).len(), taken);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_commands_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let state = Counting::default();
    let seen = Arc::clone(&state.seen);
    let wal = wal_on(directory.path(), Arc::new(disk.clone()));
    let node = Node::start(options(), wal, state, floors(directory.path()))
        .await
        .unwrap();
    let pause = std::time::Duration::from_millis(2);
    disk.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut sent = 0;
    let refused = loop {
        match node.submit((sent..sent + 20).map(send).collect()) {
            // It may have to wait for space, when the disk is full just now.
            Ok(answers) => drop(tokio::time::timeout(20 * pause, answers).await),
            Err(error) => break error,
        }
        sent += 20;
        assert!(sent < 100_000, "a full disk was not noticed");
        tokio::time::sleep(pause).await;
    };
    assert_eq!(refused, SubmitError::DiskFull);
    assert!(refused.is_retryable() && node.status().no_space);
    // What is not a message goes on, up to a rest that is for what gives space back.
    let mut others = 0;
    let refused = loop {
        match node.submit((0..100).map(|_| acknowledge()).collect()) {
            Ok(answers) => drop(answers.await.unwrap()),
            Err(error) => break error,
        }
        others += 1;
        assert!(
            others < 100_000,
            "the rest of the segment was not kept free"
        );
    };
    assert_eq!(refused, SubmitError::DiskFull);
    assert!(others > 0);
    for _ in 0..20 {
        let gives_back = vec![Command::Expire { upto: 0 }];
        node.submit(gives_back).unwrap().await.unwrap();
    }
    disk.full.store(false, std::sync::atomic::Ordering::SeqCst);
    while node.status().no_space {
        tokio::time::sleep(pause).await;
    }
    node.submit(vec![send(sent)]).unwrap().await.unwrap();
    assert_eq!(numbers(&seen), (0..=sent).collect::<Vec<_>>());
    node.shutdown().await;
}

/// The half of the rule that a single node cannot show: were its log behind what followers
/// have acknowledged, a leader that went on in its term would use the same ids twice.
#[test]
fn a_restarted_leader_is_never_restored_in_its_term() {
    let config = crate::raft::node::config(TIMING).validate().unwrap();
    assert_eq!(config.enable_leader_restore, Some(false));
}
