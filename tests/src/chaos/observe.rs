//! Reads every replica, each from its own node.

use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use outrigger_proto::{
    cluster::{DigestRequest, DigestResponse, ReadQueueRequest, cluster_client::ClusterClient},
    v1::{self, producer_client::ProducerClient},
};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};

use super::{
    journal::fingerprint,
    load::{BULK_TOPIC, PROBE_TOPIC, TOPICS},
};
use crate::checker::{Queue, QueueName, Replica, Stored};

/// Messages that are read with one call; some of them are large.
const READ_MAX: u32 = 256;
const CALL_MS_MAX: u64 = 5_000;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection to one node's own edge, whose calls may take `limit_ms`.
///
/// # Errors
///
/// When the address is none.
pub fn connect(uri: &str, limit_ms: u64) -> anyhow::Result<ClusterClient<Channel>> {
    let limit = Duration::from_millis(limit_ms);
    let endpoint = Endpoint::from_shared(uri.to_owned())?;
    let channel = endpoint
        .connect_timeout(limit)
        .timeout(limit)
        .connect_lazy();
    Ok(ClusterClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Waits until a message is stored through this edge; false when none is in time. Every
/// message is a call of its own, because one may be caught in what is broken.
pub async fn probe(uri: &str, limit_ms: u64) -> bool {
    const NEXT_MS: u64 = 20;
    let limit = Duration::from_millis(limit_ms);
    let mut calls = FuturesUnordered::new();
    let mut next = tokio::time::interval(Duration::from_millis(NEXT_MS));
    let probing = async {
        loop {
            tokio::select! {
                _ = next.tick() => calls.push(store(uri)),
                Some(true) = calls.next() => return,
            }
        }
    };
    tokio::time::timeout(limit, probing).await.is_ok()
}

/// True when a message is stored through this edge.
async fn store(uri: &str) -> bool {
    const STORE_MS_MAX: u64 = 2_000;
    let limit = Duration::from_millis(STORE_MS_MAX);
    let message = v1::Message {
        topic: PROBE_TOPIC.0.to_owned(),
        ..v1::Message::default()
    };
    let sent = async {
        let endpoint = Endpoint::from_shared(uri.to_owned()).ok()?.timeout(limit);
        let mut client = ProducerClient::new(endpoint.connect().await.ok()?);
        let message = Some(message);
        let request = v1::SendRequest {
            message,
            ..v1::SendRequest::default()
        };
        client.send(request).await.ok()
    };
    matches!(tokio::time::timeout(limit, sent).await, Ok(Some(_)))
}

/// What a node has applied.
///
/// # Errors
///
/// When the node does not answer.
pub async fn digest(uri: &str) -> anyhow::Result<DigestResponse> {
    let answer = connect(uri, CALL_MS_MAX)?
        .digest(DigestRequest::default())
        .await?;
    Ok(answer.into_inner())
}

/// Everything that a node has.
///
/// # Errors
///
/// When the node does not answer, or a message cannot be read.
pub async fn replica(uri: &str) -> anyhow::Result<Replica> {
    let mut client = connect(uri, CALL_MS_MAX)?;
    let applied = digest(uri).await.context("the digest")?;
    let mut replica = Replica {
        node: applied.node_id,
        applied_index: applied.applied_index,
        digest: applied.digest.to_vec(),
        ..Replica::default()
    };
    for (topic, queues) in TOPICS.into_iter().chain([BULK_TOPIC]) {
        for queue in 0..queues {
            let name = QueueName {
                topic: topic.to_owned(),
                queue,
            };
            let read = read(&mut client, &name).await;
            let read = read.with_context(|| format!("reading {name} from {}", applied.node_id))?;
            replica.queues.insert(name, read);
        }
    }
    Ok(replica)
}

async fn read(client: &mut ClusterClient<Channel>, name: &QueueName) -> anyhow::Result<Queue> {
    let mut queue = Queue::default();
    let mut from_offset = 0;
    loop {
        let request = ReadQueueRequest {
            topic: name.topic.clone(),
            queue: name.queue,
            from_offset,
            limit: READ_MAX,
            ..ReadQueueRequest::default()
        };
        let answer = client.read_queue(request).await?.into_inner();
        queue.first_offset = answer.first_offset;
        let Some(last) = answer.messages.last() else {
            anyhow::ensure!(
                from_offset >= answer.next_offset,
                "nothing at {from_offset}, though it goes on to {}",
                answer.next_offset
            );
            return Ok(queue);
        };
        from_offset = last.offset + 1;
        for stored in answer.messages {
            let message = v1::Message::decode(stored.message)
                .with_context(|| format!("offset {}", stored.offset))?;
            queue.messages.push(Stored {
                offset: stored.offset,
                fingerprint: fingerprint(&message),
                id: message.message_id,
            });
        }
    }
}
