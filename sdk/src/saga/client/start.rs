use std::{
    future::IntoFuture,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_proto::v1;

use super::{Client, Error, Info};

/// A saga that is about to be started: `await` it. Made by [`Client::start`].
#[derive(Debug)]
#[must_use = "await it"]
pub struct Start {
    client: Client,
    request: v1::StartSagaRequest,
    input: Result<Bytes, serde_json::Error>,
    wait: Duration,
}

impl Start {
    pub(super) fn new(
        client: Client,
        saga_id: String,
        definition: String,
        input: Result<Bytes, serde_json::Error>,
    ) -> Self {
        Self {
            client,
            request: v1::StartSagaRequest {
                saga_id,
                definition,
                ..v1::StartSagaRequest::default()
            },
            input,
            wait: Duration::ZERO,
        }
    }

    /// In this version of its definition, 32 hexadecimal digits; otherwise in the latest.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.request.version = version.into();
        self
    }

    /// When its first step begins, at most 365 days ahead; otherwise at once.
    pub fn at(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let at_ms = since.map_or(1, |since| super::millis(since).max(1));
        self.request.start_at_ms = at_ms;
        self
    }

    /// Waits for the end, or until somebody has to look at the saga, for at most so long;
    /// otherwise the answer comes as soon as the saga is durable. The answer says which it is.
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = at_most;
        self
    }

    async fn run(self) -> Result<Info, Error> {
        let mut request = self.request;
        request.input = self.input.map_err(|source| Error::Json {
            what: "input",
            saga_id: request.saga_id.clone(),
            source,
        })?;
        let (saga_id, wait) = (request.saga_id.clone(), self.wait);
        let client = &self.client;
        // A start that is repeated, because nobody knows what became of the one before, is the
        // same start again. What is left of the time to wait is waited for with Wait.
        let begun = tokio::time::Instant::now();
        let limit = super::wait_call(super::millis(wait.min(super::WAIT_CALL_MAX)));
        let again = || {
            let left = wait.saturating_sub(begun.elapsed());
            v1::StartSagaRequest {
                wait_ms: super::millis(left.min(super::WAIT_CALL_MAX)),
                ..request.clone()
            }
        };
        let call = |mut grpc: super::Grpc, request| async move { grpc.start(request).await };
        let started = client.repeated(limit, again, call).await?;
        let info = Info::from_wire(started)?;
        let left = wait.saturating_sub(begun.elapsed());
        if left.is_zero() || super::is_told(&info) {
            return Ok(info);
        }
        client.wait(saga_id, left).await
    }
}

impl IntoFuture for Start {
    type Output = Result<Info, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
