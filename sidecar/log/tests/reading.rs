//! What was submitted is read back, now and after the log was opened again.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use bytes::Bytes;
use outrigger_core::half_message::State;
use outrigger_core::lease::Event;
use outrigger_log::{
    Command, ConsumerGroupConfig, IndexEntry, Log, NewMessage, Options, Outcome, StartFrom,
    TopicId, TransactionId, Verdict,
};

async fn one(log: &Log, command: Command) -> Outcome {
    let mut outcomes = log.submit(vec![command]).unwrap().await.unwrap();
    outcomes.remove(0)
}

fn message(topic: TopicId, stored: &str) -> NewMessage {
    NewMessage {
        destination: topic.into(),
        key_hash: 0,
        tag_hash: 5,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::copy_from_slice(stored.as_bytes()),
    }
}

/// All messages of a queue, through the index and the write-ahead log.
fn queue(log: &Log, topic: TopicId) -> Vec<Bytes> {
    let mut entries: Vec<IndexEntry> = Vec::new();
    let (first, next) = log.queue_bounds(topic, 0);
    log.index(topic, 0, first, usize::MAX, &mut entries)
        .unwrap();
    assert_eq!(entries.len() as u64, next - first);
    log.read(&entries).unwrap()
}

fn prepare(topic: TopicId, id: u128, stored: &str) -> Command {
    let from_fence = NewMessage {
        from_fence: true,
        ..message(topic, "to be replaced")
    };
    Command::Prepare {
        id: TransactionId(id),
        producer_group: "order-service".to_owned(),
        fingerprint: 9,
        messages: vec![message(topic, stored), from_fence],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_are_read_when_they_are_committed() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path());
    let log = Log::open(options.clone()).await.unwrap();
    let name = "orders".to_owned();
    one(
        &log,
        Command::CreateTopic {
            name,
            queues: 1,
            durability: Default::default(),
        },
    )
    .await;
    let topic = log.topic("orders").unwrap().id;
    let mut watch = log.watch_topic(topic).unwrap();
    for id in 1..=3 {
        let prepared = one(&log, prepare(topic, id, "body")).await;
        assert_eq!(prepared, Outcome::Prepared { repeated: false });
    }
    assert!(queue(&log, topic).is_empty());
    let waiting = log.unresolved(0, u64::MAX, 2);
    assert_eq!(waiting[0].transaction.id, TransactionId(1));
    let next = log.unresolved(waiting[1].sequence, u64::MAX, 2);
    assert_eq!(next.len(), 1);
    let stored = log.read(&next[0].transaction.stored()).unwrap();
    assert_eq!(stored, ["body", "to be replaced"]);
    assert!(next[0].transaction.messages[1].from_fence);

    watch.mark_unchanged();
    let commit = Command::Resolve {
        id: TransactionId(2),
        verdict: Verdict::Commit,
        replacements: vec![(1, Bytes::from_static(b"replaced"))],
    };
    one(&log, commit).await;
    watch.changed().await.unwrap();
    assert_eq!(queue(&log, topic), ["body", "replaced"]);

    let group = Command::CreateConsumerGroup {
        name: "stock".to_owned(),
        config: ConsumerGroupConfig {
            start_from: StartFrom::First,
            max_attempts: 2,
            retry_delays_ms: vec![1],
        },
    };
    one(&log, group).await;
    let group = log.consumer_group("stock").unwrap().id;
    assert!(log.recorded_progress(group, topic, 0).is_none());
    let progress = Command::Progress {
        group,
        topic,
        queue: 0,
        events: vec![Event::Acked { first: 0, last: 0 }],
    };
    assert_eq!(one(&log, progress).await, Outcome::Applied);
    let digest = log.digest().unwrap();
    log.shutdown().await;

    let log = Log::open(options).await.unwrap();
    assert_eq!(log.digest().unwrap(), digest);
    assert_eq!(queue(&log, topic), ["body", "replaced"]);
    assert_eq!(log.progress(group, topic, 0).floor(), 1);
    let committed = log.transaction(TransactionId(2)).unwrap().unwrap();
    assert_eq!(committed.state, State::Committed);
    assert!(log.transaction(TransactionId(9)).unwrap().is_none());
    assert_eq!(log.status().unresolved, 2);
    log.shutdown().await;
}
