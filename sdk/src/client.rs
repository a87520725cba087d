use std::{sync::Arc, time::Duration};

use tonic::transport::{Channel, Endpoint};

use crate::{
    admin::Admin,
    consumer::ConsumerBuilder,
    guard::Guards,
    producer::Producer,
    publish::{PublishOptions, Publisher},
    saga,
};

/// Received bytes that may be on their way on one stream; large, because a sidecar on the
/// same machine can fill the default window many times in one round trip.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The largest HTTP/2 frame we take.
const HTTP2_FRAME_BYTES_MAX: u32 = 256 * 1024;
const CONNECT_TIMEOUT_MS: u64 = 2_000;
const KEEP_ALIVE_INTERVAL_MS: u64 = 10_000;
const KEEP_ALIVE_TIMEOUT_MS: u64 = 5_000;

/// A connection to the sidecar. Cheap to clone; all clones share one connection and one
/// [Publish stream](crate::publish).
///
/// ```no_run
/// use outrigger_sdk::{Client, Message};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("http://127.0.0.1:7070").await?;
/// let producer = client.producer("order-service");
/// let receipt = producer.send(Message::new("audit", "hello")).await?;
/// println!("stored in queue {} at {}", receipt.queue, receipt.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    publisher: Arc<Publisher>,
}

/// The address is not one that can be connected to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{uri:?} is not an address of a sidecar, which looks like http://host:port: {problem}")]
pub struct ConnectError {
    /// What was given.
    pub uri: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Client {
    /// A client of the sidecar at `uri`, such as `http://127.0.0.1:7070`.
    ///
    /// Connects when there is something to do, and again whenever the connection is lost;
    /// so this fails only for an address that cannot be one. Use [`Client::admin`]'s
    /// [`health`](Admin::health) to see whether the sidecar is there.
    pub async fn connect(uri: impl Into<String>) -> Result<Self, ConnectError> {
        Self::connect_with(uri, PublishOptions::default()).await
    }

    /// As [`Client::connect`], with other limits for the Publish stream.
    pub async fn connect_with(
        uri: impl Into<String>,
        options: PublishOptions,
    ) -> Result<Self, ConnectError> {
        let channel = endpoint(uri.into())?.connect_lazy();
        let publisher = Arc::new(Publisher::start(channel.clone(), options));
        Ok(Self { channel, publisher })
    }

    /// A producer of the group `producer_group`: the replicas of one service, any of which
    /// can be asked how a local transaction ended. At most 120 characters.
    pub fn producer(&self, producer_group: impl Into<String>) -> Producer {
        Producer::new(self.clone(), producer_group.into())
    }

    /// A consumer in the group `consumer_group`, whose members share the work.
    pub fn consumer(&self, consumer_group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), consumer_group.into())
    }

    /// Idempotency guards whose keys are kept apart from others by `scope`, at most 120
    /// characters.
    pub fn guard(&self, scope: impl Into<String>) -> Guards {
        Guards::new(self.channel.clone(), scope.into())
    }

    /// Sagas: their definitions, starting them, and what becomes of them.
    pub fn sagas(&self) -> saga::Client {
        saga::Client::new(self.channel.clone())
    }

    /// Topics, groups, transactions and health.
    pub fn admin(&self) -> Admin {
        Admin::new(self.channel.clone())
    }

    /// Waits until every operation that was called before is answered.
    ///
    /// Dropping the last clone of a client sends what is left too, but only as long as the
    /// tokio runtime is there.
    pub async fn flush(&self) {
        self.publisher.flush().await;
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn endpoint(uri: String) -> Result<Endpoint, ConnectError> {
    let refuse = |problem: String| ConnectError {
        uri: uri.clone(),
        problem,
    };
    let endpoint = Endpoint::from_shared(uri.clone()).map_err(|error| refuse(error.to_string()))?;
    if endpoint.uri().scheme_str() != Some("http") {
        return Err(refuse("the scheme is not http".to_owned()));
    }
    if endpoint.uri().authority().is_none() {
        return Err(refuse("there is no host".to_owned()));
    }
    Ok(endpoint
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .http2_keep_alive_interval(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS))
        .keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_TIMEOUT_MS)))
}
