//! Half-messages: most are resolved by whoever prepared them, some are left to check-back.

use std::{sync::Arc, time::Duration};

use outrigger_proto::v1::{self, producer_client::ProducerClient};
use outrigger_sdk::{Client, Verdict};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::Topics;
use crate::{
    chaos::journal::{Journal, fingerprint},
    checker::{Decision, Outcome, Resolve, Transaction, TransactionMessage},
};

const MESSAGES: std::ops::RangeInclusive<usize> = 1..=4;
const CALL_MS_MAX: u64 = 2_000;
const CONNECT_MS_MAX: u64 = 500;
const ATTEMPTS_MAX: u32 = 4;
const AGAIN_MS: u64 = 150;
const PAUSE_MS: u64 = 15;
/// Of 100 transactions, so many are rolled back.
const ROLLBACK_PERCENT: u32 = 20;
/// Of 100 transactions, so many are left to check-back.
const ABANDONED_PERCENT: u32 = 10;
const CONTRADICTION: &str = "TRANSACTION_CONTRADICTION";

type Edges = Vec<ProducerClient<Channel>>;

/// Runs transactions, one after the other, until the journal says that it is over.
pub(super) async fn transact(
    journal: Arc<Journal>,
    edges: Arc<[String]>,
    topics: Arc<Topics>,
    number: u32,
) {
    let edges: Edges = edges.iter().filter_map(|edge| connect(edge)).collect();
    let mut random = StdRng::seed_from_u64(1_000 + u64::from(number));
    while !journal.is_sending_over() {
        let id = Uuid::now_v7();
        let is_rollback = random.random_range(0..100) < ROLLBACK_PERCENT;
        let decision = match is_rollback {
            true => Decision::Rollback,
            false => Decision::Commit,
        };
        journal.decide(id, decision);
        let count = random.random_range(MESSAGES);
        let messages: Vec<_> = (0..count)
            .map(|_| super::message(&journal, &topics, &mut random, ""))
            .collect();
        let prepared = prepare(&edges, &mut random, id, &messages).await;
        let is_abandoned = random.random_range(0..100) < ABANDONED_PERCENT;
        let resolved = match prepared {
            Outcome::Acknowledged(_) if !is_abandoned => {
                resolve(&edges, &mut random, id, decision).await
            }
            _ => Resolve::Unknown,
        };
        if resolved == Resolve::Acknowledged {
            journal.progressed("transactions");
        }
        journal.transacted(Transaction {
            id: id.to_string(),
            messages: messages.into_iter().map(noted).collect(),
            decision,
            prepared,
            resolved,
        });
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

/// Answers check-backs at one edge.
pub(super) async fn answer(
    journal: Arc<Journal>,
    edge: &str,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let client = Client::connect(edge).await?;
    let producer = client.producer(super::PRODUCER_GROUP);
    Ok(async move {
        producer
            .answer_check_backs(|question| {
                let decision = journal.decision(question.id);
                std::future::ready(match decision {
                    Some(Decision::Commit) => Verdict::Commit,
                    Some(Decision::Rollback) => Verdict::Rollback,
                    None => Verdict::Unknown,
                })
            })
            .await;
    })
}

fn connect(edge: &str) -> Option<ProducerClient<Channel>> {
    let endpoint = Endpoint::from_shared(edge.to_owned()).ok()?;
    let endpoint = endpoint
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .timeout(Duration::from_millis(CALL_MS_MAX));
    Some(ProducerClient::new(endpoint.connect_lazy()))
}

fn noted(message: v1::Message) -> TransactionMessage {
    TransactionMessage {
        fingerprint: fingerprint(&message),
        id: message.message_id,
        topic: message.topic,
    }
}

/// Repeats the call, at whichever edge, as an application may.
async fn prepare(
    edges: &Edges,
    random: &mut StdRng,
    id: Uuid,
    messages: &[v1::Message],
) -> Outcome {
    for _ in 0..ATTEMPTS_MAX {
        let Some(mut edge) = edges.choose(random).cloned() else {
            break;
        };
        let request = v1::PrepareRequest {
            transaction_id: id.to_string(),
            producer_group: super::PRODUCER_GROUP.to_owned(),
            messages: messages.to_vec(),
        };
        match edge.prepare(request).await {
            Ok(_) => return Outcome::Acknowledged(None),
            Err(_) => tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await,
        }
    }
    Outcome::Unknown
}

async fn resolve(edges: &Edges, random: &mut StdRng, id: Uuid, decision: Decision) -> Resolve {
    let verdict = match decision {
        Decision::Commit => v1::Verdict::Commit,
        Decision::Rollback => v1::Verdict::Rollback,
    };
    for _ in 0..ATTEMPTS_MAX {
        let Some(mut edge) = edges.choose(random).cloned() else {
            break;
        };
        let request = v1::ResolveRequest {
            transaction_id: id.to_string(),
            verdict: verdict.into(),
            payload: None,
        };
        match edge.resolve(request).await {
            Ok(_) => return Resolve::Acknowledged,
            Err(status) if is_contradiction(&status) => return Resolve::Contradicted,
            Err(_) => tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await,
        }
    }
    Resolve::Unknown
}

fn is_contradiction(status: &Status) -> bool {
    let info = status.get_details_error_info();
    status.code() == Code::FailedPrecondition
        && info.is_some_and(|info| info.reason == CONTRADICTION)
}
