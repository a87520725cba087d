//! What these tests share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use outrigger_sdk::{
    Client, PublishOptions, Stop,
    consumer::{Received, Retry},
};
use outrigger_tests::sidecar::{Settings, Sidecar};
pub(crate) use outrigger_tests::waiting::{PATIENCE, eventually};
use tempfile::TempDir;

/// A sidecar with a directory of its own.
pub(crate) struct Bench {
    pub(crate) sidecar: Sidecar,
    _directory: TempDir,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    pub(crate) fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let settings = change(Settings::new(directory.path().join("data")));
        let sidecar = Sidecar::start(settings).expect("the sidecar starts");
        Self {
            sidecar,
            _directory: directory,
        }
    }

    pub(crate) fn start_with_config(toml: &str) -> Self {
        Self::start_with(|settings| settings.with_config(toml).expect("the file can be written"))
    }

    pub(crate) async fn client(&self) -> Client {
        let options = PublishOptions {
            retry_total_ms: 60_000,
            ..PublishOptions::default()
        };
        Client::connect_with(self.sidecar.uri(), options)
            .await
            .expect("a legal address")
    }
}

/// Messages that a topic holds, all queues together.
pub(crate) async fn stored_count(client: &Client, topic: &str) -> u64 {
    let topic = client.admin().topic(topic).await.expect("the topic exists");
    topic
        .queues
        .iter()
        .map(|queue| queue.next_offset - queue.first_offset)
        .sum()
}

/// Every message of a topic and how often it was delivered, by body, read by a consumer
/// group that nobody else uses.
pub(crate) async fn read_all(client: &Client, topic: &str) -> BTreeMap<String, u32> {
    let count = stored_count(client, topic).await;
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let stop = Stop::new();
    let consumer = client
        .consumer(format!("reader-{}", uuid::Uuid::new_v4().simple()))
        .subscribe(topic, "*")
        .concurrency(1_024)
        .stop(stop.clone())
        .run({
            let seen = seen.clone();
            move |message: Received| {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                *seen.lock().expect("not poisoned").entry(body).or_insert(0) += 1;
                std::future::ready(Ok::<(), Retry>(()))
            }
        });
    let consumer = tokio::spawn(consumer);
    let total = || {
        seen.lock()
            .expect("not poisoned")
            .values()
            .map(|times| u64::from(*times))
            .sum::<u64>()
    };
    eventually(
        &format!("all {count} messages of {topic} are read"),
        async || total() >= count,
    )
    .await;
    stop.stop();
    consumer
        .await
        .expect("no panic")
        .expect("the consumer stops");
    std::mem::take(&mut *seen.lock().expect("not poisoned"))
}
