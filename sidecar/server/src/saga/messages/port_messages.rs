use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use outrigger_sdk::{Client, Message, PublishOptions, Stop};
use tokio::sync::OnceCell;

use super::{GROUP, STEP, replies};
use crate::saga::{
    executor::{Handle, Messages, Outgoing},
    remote::PortStore,
};

/// How long sending a message may take.
const SEND_MS_MAX: u64 = 10_000;

/// Sends messages to this process's own port, as an application would, and receives replies
/// there from the first message of a step on.
#[derive(Clone)]
pub(crate) struct PortMessages {
    shared: Arc<Shared>,
}

struct Shared {
    /// As in `http://127.0.0.1:7070`.
    uri: String,
    client: OnceCell<Client>,
    store: PortStore,
    executor: OnceCell<Handle>,
    replies: OnceCell<()>,
    stop: Stop,
}

impl PortMessages {
    /// At the port with this address.
    pub(crate) fn new(address: &str, store: PortStore, stop: Stop) -> Self {
        Self {
            shared: Arc::new(Shared {
                uri: format!("http://{address}"),
                client: OnceCell::new(),
                store,
                executor: OnceCell::new(),
                replies: OnceCell::new(),
                stop,
            }),
        }
    }

    /// Who is told at once when a reply has come.
    pub(crate) fn tell(&self, executor: Handle) {
        let _ = self.shared.executor.set(executor);
    }
}

impl Shared {
    async fn client(&self) -> Result<&Client, String> {
        let options = PublishOptions {
            retry_total_ms: SEND_MS_MAX,
            ..PublishOptions::default()
        };
        let connected = self
            .client
            .get_or_try_init(|| Client::connect_with(self.uri.clone(), options));
        connected.await.map_err(|error| error.to_string())
    }

    /// Replies are received once there may be any: whoever takes a saga over sends its last
    /// message again.
    async fn receive_replies(&self, client: &Client) {
        let begin = || async {
            let (client, store, stop) = (client.clone(), self.store.clone(), self.stop.clone());
            let executor = self.executor.get().cloned();
            tokio::spawn(replies::receive(client, store, executor, stop));
        };
        self.replies.get_or_init(begin).await;
    }
}

impl Messages for PortMessages {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<(), String>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let client = shared.client().await?;
            if message.properties.iter().any(|(name, _)| *name == STEP) {
                shared.receive_replies(client).await;
            }
            let mut wire = Message::new(message.topic, message.body)
                .tag(message.tag)
                .key(message.key);
            for (name, value) in message.properties {
                wire = wire.property(name, value);
            }
            let sent = client.producer(GROUP).send(wire).await;
            sent.map(drop).map_err(|error| error.to_string())
        }
        .boxed()
    }
}
