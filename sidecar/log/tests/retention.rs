//! The beginning of the log goes, and nothing that is needed goes with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use outrigger_core::lease::Event;
use outrigger_log::{
    Command, ConsumerGroupConfig, ForwardedMessage, Log, NewMessage, NodeError, OpenError, Options,
    Outcome, StartFrom, SubmitError, TopicId, TransactionId, Verdict,
};

const SEGMENT_BYTES: u64 = 64 << 10;

/// Small segments, of which few are kept.
fn options(directory: &Path) -> Options {
    Options {
        wal_segment_bytes: SEGMENT_BYTES,
        wal_first_segment_bytes: 16 << 10,
        entry_bytes_max: 16 << 10,
        entry_bytes_target: 4 << 10,
        tail_cache_bytes_max: 8 << 10,
        checkpoint_interval_ms: 20,
        retention_bytes: Some(4 * SEGMENT_BYTES),
        retention_interval_ms: 20,
        ..Options::new(directory)
    }
}

fn message(topic: TopicId, number: u64) -> NewMessage {
    NewMessage {
        destination: topic.into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from(format!("message {number:01000}")),
    }
}

async fn one(log: &Log, command: Command) -> Outcome {
    log.submit(vec![command]).unwrap().await.unwrap().remove(0)
}

async fn topic(log: &Log) -> TopicId {
    let create = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: 1,
        durability: Default::default(),
    };
    match one(log, create).await {
        Outcome::Topic(topic) => topic,
        other => panic!("{other:?}"),
    }
}

async fn send(log: &Log, topic: TopicId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let send = Command::Send {
            message: message(topic, number),
            sequence: None,
        };
        assert!(matches!(one(log, send).await, Outcome::Sent { .. }));
    }
}

fn log_bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("wal")).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
    sizes.sum()
}

/// What is visible, by offset.
fn visible(log: &Log, topic: TopicId) -> Vec<(u64, Bytes)> {
    let mut entries = Vec::new();
    log.index(topic, 0, 0, usize::MAX, &mut entries).unwrap();
    let bodies = log.read(&entries).unwrap();
    let offsets = entries.iter().map(|entry| entry.offset);
    offsets.zip(bodies).collect()
}

/// Waits until the log is as small as it is to be.
async fn shrinks(log: &Log, topic: TopicId, directory: &Path, numbers: &mut u64) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    while log_bytes(directory) > 9 * SEGMENT_BYTES || log.queue_bounds(topic, 0).0 == 0 {
        assert!(tokio::time::Instant::now() < limit, "nothing is removed");
        // Floor checkpoints are written as the log goes on.
        send(log, topic, *numbers..*numbers + 20).await;
        *numbers += 20;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_segments_go_and_the_state_is_made_again_without_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = Log::open(options(path)).await.unwrap();
    let topic = topic(&log).await;
    let mut numbers = 2_000;
    send(&log, topic, 0..numbers).await;
    shrinks(&log, topic, path, &mut numbers).await;
    log.shutdown().await;

    let keep_all = |path: &Path| Options {
        retention_bytes: None,
        ..options(path)
    };
    let log = Log::open(keep_all(path)).await.unwrap();
    let (first, next) = log.queue_bounds(topic, 0);
    assert!(first > 1_000 && next == numbers, "{first} {next}");
    let before = log.digest().unwrap();
    let kept = visible(&log, topic);
    assert_eq!(kept.len() as u64, next - first);
    for (offset, body) in &kept {
        assert_eq!(*body, message(topic, *offset).stored);
    }
    log.shutdown().await;

    // Without derived state it is made out of a floor checkpoint and what is left of the log.
    std::fs::remove_dir_all(path.join("groups/0/derived")).unwrap();
    let log = Log::open(keep_all(path)).await.unwrap();
    assert_eq!(visible(&log, topic), kept);
    assert_eq!(log.digest().unwrap(), before);
    send(&log, topic, numbers..numbers + 1).await;
    assert_eq!(log.queue_bounds(topic, 0), (first, numbers + 1));
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_floor_checkpoints_stop_nobody_who_does_not_need_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = Log::open(options(path)).await.unwrap();
    let topic = topic(&log).await;
    let mut numbers = 2_000;
    send(&log, topic, 0..numbers).await;
    shrinks(&log, topic, path, &mut numbers).await;
    log.shutdown().await;

    for file in std::fs::read_dir(path.join("groups/0/floors")).unwrap() {
        let file = file.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    let log = Log::open(options(path)).await.unwrap();
    assert_eq!(log.queue_bounds(topic, 0).1, numbers);
    // The log is not purged up to them, but up to those that follow.
    let (first, _) = log.queue_bounds(topic, 0);
    while log.queue_bounds(topic, 0).0 < first + 500 {
        send(&log, topic, numbers..numbers + 100).await;
        numbers += 100;
    }
    shrinks(&log, topic, path, &mut numbers).await;
    log.shutdown().await;

    // Who needs them is told so.
    for file in std::fs::read_dir(path.join("groups/0/floors")).unwrap() {
        std::fs::write(file.unwrap().path(), "nothing of use").unwrap();
    }
    std::fs::remove_dir_all(path.join("groups/0/derived")).unwrap();
    let refused = Log::open(options(path)).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::Node(NodeError::NoBeginning { purged }) if purged > 0
        ),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_half_message_needs_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = Log::open(options(path)).await.unwrap();
    let topic = topic(&log).await;
    send(&log, topic, 0..300).await;
    let id = TransactionId(7);
    let prepare = Command::Prepare {
        id,
        producer_group: "orders".to_owned(),
        fingerprint: 1,
        messages: vec![message(topic, 1_000_000)],
    };
    assert_eq!(
        one(&log, prepare).await,
        Outcome::Prepared { repeated: false }
    );
    let mut numbers = 2_000;
    send(&log, topic, 300..numbers).await;
    // Until something has been removed: then everything that may go is looked at.
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    while log.queue_bounds(topic, 0).0 == 0 {
        assert!(tokio::time::Instant::now() < limit, "nothing expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (first, _) = log.queue_bounds(topic, 0);
    assert!(first <= 300, "{first}");
    let transaction = log.transaction(id).unwrap().unwrap();
    let stored = log.read(&transaction.stored()).unwrap();
    assert_eq!(stored, [message(topic, 1_000_000).stored]);
    let commit = Command::Resolve {
        id,
        verdict: Verdict::Commit,
        replacements: Vec::new(),
    };
    assert_eq!(
        one(&log, commit).await,
        Outcome::Resolved { repeated: false }
    );
    let (offset, body) = visible(&log, topic).pop().unwrap();
    assert_eq!((offset, body), (numbers, message(topic, 1_000_000).stored));
    // Nothing holds the log any more.
    numbers += 1;
    shrinks(&log, topic, path, &mut numbers).await;
    assert!(log.queue_bounds(topic, 0).0 > 300);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_almost_full_takes_what_is_decided_and_acknowledgements_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = Log::open(options(path)).await.unwrap();
    let topic = topic(&log).await;
    send(&log, topic, 0..10).await;
    let id = TransactionId(7);
    let prepare = Command::Prepare {
        id,
        producer_group: "orders".to_owned(),
        fingerprint: 1,
        messages: vec![message(topic, 10)],
    };
    one(&log, prepare.clone()).await;
    log.shutdown().await;

    // Every disk is used to so much.
    let full = Options {
        disk_refuse_percent: 0,
        ..options(path)
    };
    let log = Log::open(full).await.unwrap();
    let another = Command::Send {
        message: message(topic, 11),
        sequence: None,
    };
    for command in [another, prepare] {
        let refused = log.submit(vec![command]).err().unwrap();
        assert!(
            matches!(
                refused,
                SubmitError::DiskAlmostFull {
                    limit_percent: 0,
                    ..
                }
            ),
            "{refused}"
        );
        assert!(refused.is_retryable());
    }
    assert!(log.status().disk_full);
    let commit = Command::Resolve {
        id,
        verdict: Verdict::Commit,
        replacements: Vec::new(),
    };
    assert_eq!(
        one(&log, commit).await,
        Outcome::Resolved { repeated: false }
    );
    let group = match one(&log, group()).await {
        Outcome::ConsumerGroup(group) => group,
        other => panic!("{other:?}"),
    };
    let acknowledge = Command::Progress {
        group,
        topic,
        queue: 0,
        events: vec![Event::Acked { first: 0, last: 10 }],
    };
    assert_eq!(one(&log, acknowledge).await, Outcome::Applied);
    // Another data group has committed it, and keeps its own log until it is here.
    let forwarded = Command::Forwarded {
        source: 1,
        first: 1,
        queues: 1,
        messages: vec![ForwardedMessage {
            topic: "orders".into(),
            key_hash: 0,
            tag_hash: 0,
            deliver_at_ms: 0,
            stored: message(topic, 12).stored,
        }],
    };
    assert_eq!(one(&log, forwarded).await, Outcome::Forwarded { upto: 1 });
    let bodies = visible(&log, topic).into_iter().map(|(_, body)| body);
    let numbers = (0..=10).chain([12]);
    assert!(bodies.eq(numbers.map(|number| message(topic, number).stored)));
    log.shutdown().await;
}

fn group() -> Command {
    Command::CreateConsumerGroup {
        name: "stock".to_owned(),
        config: ConsumerGroupConfig {
            start_from: StartFrom::First,
            max_attempts: 16,
            retry_delays_ms: vec![10],
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_loses_only_what_was_consumed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let filling = Options {
        retention_bytes: None,
        disk_expire_percent: 0,
        ..options(path)
    };
    let log = Log::open(filling).await.unwrap();
    let topic = topic(&log).await;
    let group = match one(&log, group()).await {
        Outcome::ConsumerGroup(group) => group,
        other => panic!("{other:?}"),
    };
    send(&log, topic, 0..500).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log.queue_bounds(topic, 0), (0, 500));
    let acknowledge = Command::Progress {
        group,
        topic,
        queue: 0,
        events: vec![Event::Acked {
            first: 0,
            last: 299,
        }],
    };
    assert_eq!(one(&log, acknowledge).await, Outcome::Applied);
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    while log.queue_bounds(topic, 0).0 == 0 {
        assert!(tokio::time::Instant::now() < limit, "nothing expires");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (first, next) = log.queue_bounds(topic, 0);
    assert!(
        (100..=300).contains(&first) && next == 500,
        "{first} {next}"
    );
    log.shutdown().await;
}
