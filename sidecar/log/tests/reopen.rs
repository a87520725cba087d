//! A log that is used, closed and opened again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use outrigger_log::command::{Command, NewMessage, Outcome, Refusal, TopicId};
use outrigger_log::{DirectoryError, Log, OpenError, Options, SubmitError};

fn send(topic: TopicId, body: String) -> Command {
    let message = NewMessage {
        destination: topic.into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from(body),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

fn create(name: &str) -> Command {
    Command::CreateTopic {
        name: name.to_owned(),
        queues: 1,
        durability: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_go_on_where_they_ended() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path());
    let mut offset = 0;
    let mut cluster_id = None;
    for round in 0..3 {
        let log = Log::open(options.clone()).await.unwrap();
        let status = log.status();
        assert_eq!(status.leader, Some(1));
        assert_eq!(
            *cluster_id.get_or_insert(status.cluster_id.clone()),
            status.cluster_id
        );
        let created = log.submit(vec![create("orders")]).unwrap().await.unwrap();
        let [Outcome::Topic(topic)] = created[..] else {
            panic!("{created:?}");
        };
        for _ in 0..100 {
            let commands = vec![send(topic, format!("round {round}")); 3];
            for outcome in log.submit(commands).unwrap().await.unwrap() {
                assert_eq!(outcome, Outcome::Sent { queue: 0, offset });
                offset += 1;
            }
        }
        assert!(log.status().durable_index >= log.status().applied_index);

        let error = Log::open(options.clone()).await.unwrap_err();
        let in_use = matches!(error, OpenError::Directory(DirectoryError::InUse { .. }));
        assert!(in_use, "{error}");
        let other = log.clone();
        log.shutdown().await;
        assert_eq!(
            other.submit(vec![create("late")]).unwrap_err(),
            SubmitError::Closed
        );
    }
}

#[tokio::test]
async fn an_option_outside_its_limits_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        entry_bytes_max: 1 << 40,
        ..Options::new(directory.path())
    };
    let error = Log::open(options).await.unwrap_err().to_string();
    assert!(error.contains("entry_bytes_max"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_message_is_released_when_it_is_due_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(Options::new(directory.path())).await.unwrap();
    let created = log.submit(vec![create("later")]).unwrap().await.unwrap();
    let [Outcome::Topic(topic)] = created[..] else {
        panic!("{created:?}");
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = now_ms.as_millis() as u64;
    for delay_ms in [50, 1_500] {
        let Command::Send { mut message, .. } = send(topic, "later".to_owned()) else {
            panic!("send sends");
        };
        message.deliver_at_ms = now_ms + delay_ms;
        let delayed = Command::Send {
            message,
            sequence: None,
        };
        let outcomes = log.submit(vec![delayed]).unwrap().await.unwrap();
        assert!(matches!(
            outcomes[..],
            [Outcome::Scheduled | Outcome::Sent { .. }]
        ));
    }
    wait_for(&log, 1).await;
    log.shutdown().await;
    let log = Log::open(Options::new(directory.path())).await.unwrap();
    wait_for(&log, 0).await;
    let outcomes = log
        .submit(vec![send(topic, "now".to_owned())])
        .unwrap()
        .await;
    assert_eq!(
        outcomes.unwrap(),
        [Outcome::Sent {
            queue: 0,
            offset: 2
        }]
    );
    log.shutdown().await;
}

/// Waits until no more than this many messages wait until they are due.
async fn wait_for(log: &Log, delayed: u64) {
    let start = Instant::now();
    while log.status().delayed > delayed {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            log.status()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_stays_when_a_limit_is_lowered_and_the_state_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = |topics_max| Options {
        topics_max,
        ..Options::new(directory.path())
    };
    let create_all = async |log: &Log| {
        let all = ["a", "b", "c", "d"].map(create).to_vec();
        log.submit(all).unwrap().await.unwrap()
    };
    let taken = |id| Outcome::Topic(TopicId(id));
    let refused = |limit| Outcome::Refused(Refusal::TooManyTopics { limit });
    let log = Log::open(options(3)).await.unwrap();
    let expected = [taken(0), taken(1), taken(2), refused(3)];
    assert_eq!(create_all(&log).await, expected);
    log.shutdown().await;
    std::fs::remove_dir_all(directory.path().join("groups/0/derived")).unwrap();
    let log = Log::open(options(1)).await.unwrap();
    let expected = [taken(0), taken(1), taken(2), refused(1)];
    assert_eq!(create_all(&log).await, expected);
    log.shutdown().await;
    let log = Log::open(options(4)).await.unwrap();
    assert_eq!(create_all(&log).await, [0, 1, 2, 3].map(taken));
    log.shutdown().await;
}
