//! Producers of plain messages, each with its own identity and some keys.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use outrigger_proto::v1;
use outrigger_sdk::{
    Client, Message, PublishOptions,
    publish::{self, Pending, SendReceipt},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::Topics;
use crate::{
    chaos::journal::{Journal, fingerprint},
    checker::{Order, Outcome, Send},
};

/// Half of the messages have a key. Few for each, because those of one key are delivered one
/// after the other.
const KEYS: u32 = 8;
/// Unanswered sends of one producer.
const IN_FLIGHT_MAX: usize = 32;
const BURST_MS: u64 = 20;
const BURST_MAX: u32 = 5;
/// One producer gives up early, so that there are sends of which nobody knows.
const RETRY_TOTAL_MS: [u64; 2] = [20_000, 1_000];

struct Attempt {
    message: v1::Message,
    order: Order,
    pending: Pending<SendReceipt>,
}

/// Who sends, and where.
pub(super) struct Sender {
    pub(super) edge: String,
    pub(super) name: String,
    pub(super) number: u32,
}

/// Sends until the journal says that it is over.
pub(super) async fn produce(journal: Arc<Journal>, topics: Arc<Topics>, sender: Sender) {
    let Sender { edge, name, number } = sender;
    let retry_total_ms = RETRY_TOTAL_MS
        .get(number as usize)
        .copied()
        .unwrap_or(RETRY_TOTAL_MS[0]);
    let options = PublishOptions {
        retry_total_ms,
        ..PublishOptions::default()
    };
    let Ok(client) = Client::connect_with(edge, options).await else {
        return;
    };
    let producer = client.producer(super::PRODUCER_GROUP);
    let mut random = StdRng::seed_from_u64(u64::from(number));
    let mut sequence = 0;
    let mut in_flight = VecDeque::new();
    while !journal.is_sending_over() {
        for _ in 0..random.random_range(1..=BURST_MAX) {
            sequence += 1;
            let key = match random.random_range(0..2 * KEYS) {
                key if key < KEYS => format!("{name}/{key}"),
                _ => String::new(),
            };
            let message = super::message(&journal, &topics, &mut random, &key);
            let order = Order {
                producer: name.clone(),
                key,
                sequence,
            };
            match producer.send_nowait(to_send(&message)).await {
                Ok(pending) => in_flight.push_back(Attempt {
                    message,
                    order,
                    pending,
                }),
                Err(error) => note(&journal, message, Some(order), Err(error)),
            }
        }
        while in_flight.len() > IN_FLIGHT_MAX {
            settle(&journal, in_flight.pop_front()).await;
        }
        tokio::time::sleep(Duration::from_millis(BURST_MS)).await;
    }
    while !in_flight.is_empty() {
        settle(&journal, in_flight.pop_front()).await;
    }
}

async fn settle(journal: &Journal, attempt: Option<Attempt>) {
    if let Some(attempt) = attempt {
        let receipt = attempt.pending.await;
        note(journal, attempt.message, Some(attempt.order), receipt);
    }
}

pub(super) fn note(
    journal: &Journal,
    message: v1::Message,
    order: Option<Order>,
    receipt: Result<SendReceipt, publish::Error>,
) {
    let outcome = match receipt {
        Ok(receipt) => {
            if let Some(order) = &order {
                journal.progressed(&order.producer);
            }
            Outcome::Acknowledged((!receipt.duplicate).then_some((receipt.queue, receipt.offset)))
        }
        Err(error) if error.is_outcome_unknown() => Outcome::Unknown,
        Err(publish::Error::Closed) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    };
    journal.sent(Send {
        fingerprint: fingerprint(&message),
        id: message.message_id,
        topic: message.topic,
        order: order.filter(|order| !order.key.is_empty()),
        outcome,
    });
}

pub(super) fn to_send(message: &v1::Message) -> Message {
    Message::new(&message.topic, message.body.clone())
        .id(&message.message_id)
        .message_group(&message.message_group)
}
