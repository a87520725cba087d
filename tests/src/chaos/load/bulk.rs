//! Large messages, so that a disk without room shows within seconds.

use std::{sync::Arc, time::Duration};

use outrigger_proto::v1;
use outrigger_sdk::{Client, PublishOptions};

use super::{
    Topics,
    producers::{note, to_send},
};
use crate::chaos::journal::Journal;

const BODY_BYTES: usize = 128 << 10;
/// Sends that share an answer.
const BATCH: usize = 16;
const RETRY_TOTAL_MS: u64 = 3_000;
const LOOK_AGAIN_MS: u64 = 50;

/// Sends while disks are to fill up, until the journal says that it is over.
pub(super) async fn fill(journal: Arc<Journal>, edges: Arc<[String]>, topics: Arc<Topics>) {
    let mut producers = Vec::new();
    for edge in edges.iter() {
        let options = PublishOptions {
            retry_total_ms: RETRY_TOTAL_MS,
            ..PublishOptions::default()
        };
        let Ok(client) = Client::connect_with(edge, options).await else {
            return;
        };
        producers.push(client.producer(super::PRODUCER_GROUP));
    }
    let mut producers = producers.iter().cycle();
    while !journal.is_sending_over() {
        if !journal.is_filling() {
            tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
            continue;
        }
        let Some(producer) = producers.next() else {
            return;
        };
        let messages: Vec<_> = (0..BATCH).map(|_| message(&journal, &topics)).collect();
        let receipts = producer.send_all(messages.iter().map(to_send)).await;
        for (message, receipt) in messages.into_iter().zip(receipts) {
            note(&journal, message, None, receipt);
        }
    }
}

fn message(journal: &Journal, topics: &Topics) -> v1::Message {
    let number = journal.number();
    v1::Message {
        topic: topics.bulk.name.clone(),
        message_id: format!("m-{number:08}"),
        body: number.to_le_bytes().repeat(BODY_BYTES / 8).into(),
        ..v1::Message::default()
    }
}
