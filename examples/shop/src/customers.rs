//! The customers: they place orders over HTTP, and try again until they have an answer.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use axum::{
    body::Bytes,
    http::{Method, Request, StatusCode, header::CONTENT_TYPE},
};
use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{
    progress::Progress,
    services::order::{Answer, Status},
};

/// One try. The order service may wait for its sidecar for ten seconds.
const TRY_MAX_MS: u64 = 15_000;
/// All tries for one order.
const ORDER_MAX_MS: u64 = 120_000;
const RETRY_AFTER_MS: u64 = 50;

#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub(crate) fn new() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let called = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, body))
        };
        tokio::time::timeout(Duration::from_millis(TRY_MAX_MS), called)
            .await
            .context("no answer in time")?
    }

    /// Waits until `url` answers 200.
    pub(crate) async fn wait_until_ready(
        &self,
        url: &str,
        at_most: Duration,
    ) -> anyhow::Result<()> {
        let ready = async {
            loop {
                let request = Request::builder().uri(url).body(Full::default())?;
                if matches!(self.call(request).await, Ok((StatusCode::OK, _))) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(at_most, ready)
            .await
            .with_context(|| format!("{url} is not ready after {at_most:?}"))?
    }

    async fn post(&self, url: &str, body: Bytes) -> anyhow::Result<Status> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let (status, body) = self.call(request).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::CONFLICT => {
                let answer: Answer = serde_json::from_slice(&body)?;
                Ok(answer.status)
            }
            _ => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

/// What a customer sends.
pub(crate) struct Wish {
    pub(crate) order_id: String,
    pub(crate) body: Bytes,
}

/// Places all orders, `concurrency` at a time, and returns the answers by order id.
pub(crate) async fn place_all(
    http: &Http,
    url: &str,
    wishes: &[Wish],
    concurrency: usize,
    progress: &Progress,
) -> anyhow::Result<BTreeMap<String, Status>> {
    progress.begin("placing", wishes.len());
    futures::stream::iter(wishes)
        .map(|wish| async move {
            let status = place(http, url, wish).await?;
            progress.answered();
            Ok((wish.order_id.clone(), status))
        })
        .buffer_unordered(concurrency.max(1))
        .try_collect()
        .await
}

/// An order that was placed is answered as before, so trying again is harmless whatever
/// became of the try before.
async fn place(http: &Http, url: &str, wish: &Wish) -> anyhow::Result<Status> {
    let begun = tokio::time::Instant::now();
    loop {
        match http.post(url, wish.body.clone()).await {
            Ok(status) => return Ok(status),
            Err(error) if begun.elapsed() > Duration::from_millis(ORDER_MAX_MS) => {
                return Err(error.context(format!("{} has no answer", wish.order_id)));
            }
            Err(error) => {
                tracing::debug!(order = wish.order_id, %error, "trying again");
                tokio::time::sleep(Duration::from_millis(RETRY_AFTER_MS)).await;
            }
        }
    }
}
