//! What applications do while things break.

mod bulk;
mod consumers;
mod producers;
mod topics;
mod transactions;

use std::sync::Arc;

use outrigger_proto::v1;
use rand::Rng;
use tokio::task::JoinSet;

use super::journal::Journal;
pub use topics::{TOPICS, Topic, Topics};

/// The producer group of all transactions.
pub const PRODUCER_GROUP: &str = "chaos";
/// Consumer groups; each reads all topics.
pub const CONSUMER_GROUPS: [&str; 2] = ["chaos-points", "chaos-mail"];
/// Producers of plain messages at each edge.
const PRODUCERS: u32 = 2;
/// Tasks that run transactions.
const TRANSACTIONS: u32 = 4;
/// Members of each consumer group.
const MEMBERS: u32 = 2;
const BODY_BYTES: std::ops::Range<usize> = 50..400;

/// The tasks of a load.
#[derive(Debug, Default)]
pub struct Load {
    sending: JoinSet<()>,
    consuming: JoinSet<()>,
    answering: JoinSet<()>,
}

impl Load {
    /// Starts everything, through all of these edges.
    ///
    /// # Errors
    ///
    /// When an address is none.
    pub async fn start(
        journal: &Arc<Journal>,
        edges: &[String],
        topics: &Arc<Topics>,
    ) -> anyhow::Result<Self> {
        let mut load = Self::default();
        for edge in edges {
            for number in 0..PRODUCERS {
                let name = format!("{edge}#{number}");
                journal.expect(&name);
                let sender = producers::Sender {
                    edge: edge.clone(),
                    name,
                    number,
                };
                let producing = producers::produce(journal.clone(), topics.clone(), sender);
                load.sending.spawn(producing);
            }
            let answering = transactions::answer(journal.clone(), edge).await?;
            load.answering.spawn(answering);
        }
        let edges: Arc<[String]> = edges.into();
        let filling = bulk::fill(journal.clone(), edges.clone(), topics.clone());
        load.sending.spawn(filling);
        for number in 0..TRANSACTIONS {
            let transacting =
                transactions::transact(journal.clone(), edges.clone(), topics.clone(), number);
            load.sending.spawn(transacting);
        }
        journal.expect("transactions");
        for group in CONSUMER_GROUPS {
            journal.expect(group);
            for number in 0..MEMBERS {
                let member = consumers::Member {
                    group,
                    number: number as usize,
                    topics: topics.clone(),
                };
                let consuming = consumers::consume(journal.clone(), edges.clone(), member);
                load.consuming.spawn(consuming);
            }
        }
        Ok(load)
    }

    /// Ends sending and waits for the last answers.
    pub async fn end_sending(&mut self, journal: &Journal) {
        journal.end_sending();
        while self.sending.join_next().await.is_some() {}
    }

    /// Ends consuming and waits for the last acks.
    pub async fn end_consuming(&mut self, journal: &Journal) {
        journal.end_consuming();
        while self.consuming.join_next().await.is_some() {}
        self.answering.abort_all();
    }
}

/// A message that nobody else has sent.
fn message(journal: &Journal, topics: &Topics, random: &mut impl Rng, key: &str) -> v1::Message {
    let number = journal.number();
    let mut body = vec![0; random.random_range(BODY_BYTES)];
    random.fill(body.as_mut_slice());
    v1::Message {
        topic: topics.of(number).to_owned(),
        message_id: format!("m-{number:08}"),
        body: body.into(),
        message_group: key.to_owned(),
        ..v1::Message::default()
    }
}
