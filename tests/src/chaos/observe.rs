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
    load::{Topic, Topics},
};
use crate::checker::{Applied, Queue, QueueName, Replica, Stored};

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

/// Waits until a message is stored through this edge in every data group; false when none is
/// in time.
pub async fn probe(uri: &str, topics: &Topics, limit_ms: u64) -> bool {
    const NEXT_MS: u64 = 20;
    let probes = topics.probes.iter();
    // All of them together ask as often as one alone, or they would be the load.
    let next_ms = NEXT_MS * u64::from(topics.groups);
    let probing = probes.map(|topic| probe_topic(uri, &topic.name, next_ms, limit_ms));
    let stored = futures::future::join_all(probing).await;
    stored.into_iter().all(|is_stored| is_stored)
}

/// Every message is a call of its own, because one may be caught in what is broken.
async fn probe_topic(uri: &str, topic: &str, next_ms: u64, limit_ms: u64) -> bool {
    let limit = Duration::from_millis(limit_ms);
    let mut calls = FuturesUnordered::new();
    let mut next = tokio::time::interval(Duration::from_millis(next_ms));
    let probing = async {
        loop {
            tokio::select! {
                _ = next.tick() => calls.push(store(uri, topic)),
                Some(true) = calls.next() => return,
            }
        }
    };
    tokio::time::timeout(limit, probing).await.is_ok()
}

/// True when a message is stored through this edge.
async fn store(uri: &str, topic: &str) -> bool {
    const STORE_MS_MAX: u64 = 2_000;
    let limit = Duration::from_millis(STORE_MS_MAX);
    let message = v1::Message {
        topic: topic.to_owned(),
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

/// What a node has applied of a data group.
///
/// # Errors
///
/// When the node does not answer.
pub async fn digest(uri: &str, data_group: u32) -> anyhow::Result<DigestResponse> {
    let request = DigestRequest { data_group };
    let answer = connect(uri, CALL_MS_MAX)?.digest(request).await?;
    Ok(answer.into_inner())
}

/// Everything that a node has.
///
/// # Errors
///
/// When the node does not answer, or a message cannot be read.
pub async fn replica(uri: &str, topics: &Topics) -> anyhow::Result<Replica> {
    let mut client = connect(uri, CALL_MS_MAX)?;
    let mut replica = Replica::default();
    for group in 0..topics.groups {
        let answer = digest(uri, group).await;
        let answer = answer.with_context(|| format!("the digest of data group {group}"))?;
        replica.node = answer.node_id;
        let applied = Applied {
            index: answer.applied_index,
            digest: answer.digest.to_vec(),
        };
        replica.applied.insert(group, applied);
    }
    for topic in topics.kept() {
        for queue in 0..topic.queues {
            let name = QueueName {
                topic: topic.name.clone(),
                queue,
            };
            let read = read(&mut client, topic, queue).await;
            let read = read.with_context(|| format!("reading {name} from {}", replica.node))?;
            replica.queues.insert(name, read);
        }
    }
    Ok(replica)
}

async fn read(
    client: &mut ClusterClient<Channel>,
    topic: &Topic,
    number: u32,
) -> anyhow::Result<Queue> {
    let mut queue = Queue::default();
    let mut from_offset = 0;
    loop {
        let request = ReadQueueRequest {
            topic: topic.name.clone(),
            queue: number,
            from_offset,
            limit: READ_MAX,
            data_group: Some(topic.data_group),
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
