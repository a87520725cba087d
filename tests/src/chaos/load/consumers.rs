//! Consumers that write down when each lease began and when each ack was confirmed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use outrigger_proto::v1::{self, consumer_client::ConsumerClient};
use tonic::transport::{Channel, Endpoint};

use super::Topics;
use crate::{
    chaos::journal::{Journal, fingerprint, now_ms},
    checker::{Ack, Delivery, Place, QueueName},
};

const MESSAGES_MAX: u32 = 256;
const WAIT_MS: u64 = 500;
/// Short, so that what is not acknowledged comes again within the round.
const INVISIBLE_MS: u64 = 2_000;
const CALL_MS_MAX: u64 = 4_000;
const CONNECT_MS_MAX: u64 = 500;
const AGAIN_MS: u64 = 100;
/// One in so many deliveries is not acknowledged at first.
const FORGOTTEN: u64 = 150;

/// Who receives, and what.
pub(super) struct Member {
    pub(super) group: &'static str,
    pub(super) number: usize,
    pub(super) topics: Arc<Topics>,
}

/// Receives and acknowledges until the journal says that it is over.
pub(super) async fn consume(journal: Arc<Journal>, edges: Arc<[String]>, member: Member) {
    let edges: Vec<_> = edges.iter().filter_map(|edge| connect(edge)).collect();
    let mut edges = edges.into_iter().cycle().skip(member.number);
    let Some(mut edge) = edges.next() else { return };
    while !journal.is_consuming_over() {
        if let Err(error) = turn(&journal, &mut edge, &member).await {
            tracing::debug!(%error, group = member.group, "a consumer goes on at another node");
            let Some(next) = edges.next() else { return };
            edge = next;
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        }
    }
}

fn connect(edge: &str) -> Option<ConsumerClient<Channel>> {
    let endpoint = Endpoint::from_shared(edge.to_owned()).ok()?;
    let endpoint = endpoint
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .timeout(Duration::from_millis(CALL_MS_MAX));
    Some(ConsumerClient::new(endpoint.connect_lazy()))
}

async fn turn(
    journal: &Journal,
    edge: &mut ConsumerClient<Channel>,
    member: &Member,
) -> Result<(), tonic::Status> {
    let Member {
        group,
        number,
        topics,
    } = member;
    let group = *group;
    let subscriptions = topics.consumed.iter().map(|topic| v1::Subscription {
        topic: topic.name.clone(),
        filter: "*".to_owned(),
    });
    let received = edge
        .receive(v1::ReceiveRequest {
            consumer_group: group.to_owned(),
            subscriptions: subscriptions.collect(),
            max_messages: MESSAGES_MAX,
            wait_ms: WAIT_MS,
            invisible_ms: INVISIBLE_MS,
            instance: format!("{group}-{number}"),
        })
        .await?;
    let deliveries = received.into_inner().deliveries;
    journal.delivered(deliveries.iter().map(|delivery| noted(group, delivery)));
    let to_ack: Vec<_> = deliveries
        .iter()
        .filter(|delivery| delivery.attempt > 1 || !journal.number().is_multiple_of(FORGOTTEN))
        .collect();
    if to_ack.is_empty() {
        return Ok(());
    }
    let answer = edge
        .ack(v1::AckRequest {
            consumer_group: group.to_owned(),
            receipts: to_ack.iter().map(|each| each.receipt.clone()).collect(),
        })
        .await?;
    let confirmed_at_ms = now_ms();
    let errors = answer.into_inner().errors;
    let failed: HashSet<_> = errors.into_iter().map(|error| error.receipt).collect();
    let confirmed = to_ack
        .into_iter()
        .filter(|delivery| !failed.contains(&delivery.receipt));
    journal.acknowledged(confirmed.map(|delivery| Ack {
        group: group.to_owned(),
        place: place(delivery),
        confirmed_at_ms,
    }));
    journal.progressed(group);
    Ok(())
}

fn place(delivery: &v1::Delivery) -> Place {
    let message = delivery.message.as_ref();
    Place {
        queue: QueueName {
            topic: message.map_or_else(String::new, |message| message.topic.clone()),
            queue: delivery.queue,
        },
        offset: delivery.offset,
    }
}

fn noted(group: &str, delivery: &v1::Delivery) -> Delivery {
    let message = delivery.message.as_ref();
    Delivery {
        group: group.to_owned(),
        place: place(delivery),
        id: message.map_or_else(String::new, |message| message.message_id.clone()),
        fingerprint: message.map_or(0, fingerprint),
        leased_at_ms: delivery.lease_deadline_ms.saturating_sub(INVISIBLE_MS),
    }
}
