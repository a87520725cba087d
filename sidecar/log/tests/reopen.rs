//! A log that is used, closed and opened again.

use bytes::Bytes;
use outrigger_log::command::{Command, NewMessage, Outcome, TopicId};
use outrigger_log::{DirectoryError, Log, OpenError, Options, SubmitError};

fn send(topic: TopicId, body: String) -> Command {
    let message = NewMessage {
        topic,
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
