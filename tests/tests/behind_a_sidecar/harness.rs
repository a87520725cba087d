use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use outrigger_sdk::{
    Client, PublishOptions, Stop,
    consumer::{Received, Retry},
};
pub(crate) use outrigger_tests::waiting::eventually;
use outrigger_tests::{
    cluster::Cluster,
    sidecar::{Settings, Sidecar},
};
use tempfile::TempDir;

/// A cluster with a sidecar before it.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) sidecar: Sidecar,
    _directory: TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with_config("").await
    }

    /// With settings for the sidecar.
    pub(crate) async fn start_with_config(toml: &str) -> Self {
        let cluster = Cluster::start(3).await.expect("a cluster");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let nodes = [1, 2, 3].map(|id| cluster.edge(id));
        let settings = Settings::new(directory.path().join("sidecar")).before(&nodes);
        let settings = settings.with_config(toml).expect("a file");
        let sidecar = Sidecar::start(settings).expect("the sidecar starts");
        Self {
            cluster,
            sidecar,
            _directory: directory,
        }
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
    let queues = topic.queues.iter();
    queues
        .map(|queue| queue.next_offset - queue.first_offset)
        .sum()
}

/// What a consumer group has handled: how often, by body.
pub(crate) type Handled = Arc<Mutex<BTreeMap<String, u32>>>;

/// Consumes a topic until it is stopped.
pub(crate) fn consume(
    client: &Client,
    group: &str,
    topic: &str,
) -> (Handled, Stop, tokio::task::JoinHandle<()>) {
    let handled = Handled::default();
    let stop = Stop::new();
    let consumer = client
        .consumer(group)
        .subscribe(topic, "*")
        .concurrency(256)
        .stop(stop.clone())
        .run({
            let handled = Arc::clone(&handled);
            move |message: Received| {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                *handled
                    .lock()
                    .expect("not poisoned")
                    .entry(body)
                    .or_insert(0) += 1;
                std::future::ready(Ok::<(), Retry>(()))
            }
        });
    let consumer = tokio::spawn(async move { consumer.await.expect("it ends when it is stopped") });
    (handled, stop, consumer)
}
