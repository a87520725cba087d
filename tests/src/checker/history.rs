//! What applications attempted, and what they were told.

use super::replica::{Place, QueueName};

/// Everything that was attempted during a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Messages that belong to no transaction.
    pub sends: Vec<Send>,
    /// Transactions with their messages.
    pub transactions: Vec<Transaction>,
    /// What consumers received, in any order.
    pub deliveries: Vec<Delivery>,
    /// Acks whose durability was confirmed to the consumer. Acks that failed are left out.
    pub acks: Vec<Ack>,
    /// Consumer groups that were given the time to receive everything, each with the topics
    /// that it reads.
    pub drained: Vec<(String, String)>,
}

/// A message that belongs to no transaction.
#[derive(Clone, Debug)]
pub struct Send {
    /// Unique in the whole history.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// What is in it: any hash of its content.
    pub fingerprint: u64,
    /// Where it stands among the messages of its sender, when order was asked for.
    pub order: Option<Order>,
    /// What the sender was told.
    pub outcome: Outcome,
}

/// The place of a message among those of one producer and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// Who sent it; another one after every restart of the sender.
    pub producer: String,
    /// The key within which order is kept.
    pub key: String,
    /// Grows with every attempt of this producer and key.
    pub sequence: u64,
}

/// What a sender was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable; with its place, unless the answer did not say.
    Acknowledged(Option<(u32, u64)>),
    /// The call failed, or the sender died: it may be there or not.
    Unknown,
    /// It certainly was not taken.
    Refused,
}

/// Messages that become visible together, or never.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Unique in the whole history.
    pub id: String,
    /// Its messages.
    pub messages: Vec<TransactionMessage>,
    /// How its local transaction ended: what every Resolve and every check-back says.
    pub decision: Decision,
    /// What Prepare was told; the place is not used.
    pub prepared: Outcome,
    /// What became of Resolve.
    pub resolved: Resolve,
}

/// A message of a transaction.
#[derive(Clone, Debug)]
pub struct TransactionMessage {
    /// Unique in the whole history.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// What is in it: any hash of its content.
    pub fingerprint: u64,
}

/// How a local transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its messages are to be delivered.
    Commit,
    /// Its messages are to be dropped.
    Rollback,
}

/// What became of the Resolve of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// Its decision is durable.
    Acknowledged,
    /// It failed, or it was not called; nobody else is known to have decided.
    Unknown,
    /// As unknown, but check-back had the time to ask how it ended, and the answer was given:
    /// a Prepare that was acknowledged has to be resolved by now.
    CheckedBack,
    /// The opposite decision is recorded.
    Contradicted,
}

/// A message as a consumer received it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The consumer group.
    pub group: String,
    /// Where it came from.
    pub place: Place,
    /// The id of the message.
    pub id: String,
    /// What is in it.
    pub fingerprint: u64,
    /// When its lease began, in the time of the one who leased it.
    pub leased_at_ms: u64,
}

/// An ack that was confirmed to be durable.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The consumer group.
    pub group: String,
    /// Which message.
    pub place: Place,
    /// When the confirmation arrived. A lease that begins later is a mistake; one that began
    /// before was on its way already, which a change of the leader allows.
    pub confirmed_at_ms: u64,
}

impl History {
    /// Sends and transactions' messages that were acknowledged as durable.
    pub(super) fn acknowledged(&self) -> u64 {
        let sends = self.sends.iter().filter(|send| send.is_acknowledged());
        let transactions = self.transactions.iter().filter(|each| each.is_owed());
        let messages = transactions.map(|each| each.messages.len() as u64);
        sends.count() as u64 + messages.sum::<u64>()
    }

    /// Messages of all kinds that were attempted.
    pub(super) fn attempted(&self) -> u64 {
        let messages = self.transactions.iter().map(|each| each.messages.len());
        (self.sends.len() + messages.sum::<usize>()) as u64
    }
}

impl Send {
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(_))
    }

    /// Where the sender was told that it is.
    pub(super) fn place(&self) -> Option<Place> {
        match self.outcome {
            Outcome::Acknowledged(Some((queue, offset))) => Some(Place {
                queue: QueueName {
                    topic: self.topic.clone(),
                    queue,
                },
                offset,
            }),
            Outcome::Acknowledged(None) | Outcome::Unknown | Outcome::Refused => None,
        }
    }
}

impl Transaction {
    /// True when its messages have to be there.
    pub(super) fn is_owed(&self) -> bool {
        if self.decision != Decision::Commit {
            return false;
        }
        match self.resolved {
            Resolve::Acknowledged => true,
            Resolve::CheckedBack => matches!(self.prepared, Outcome::Acknowledged(_)),
            Resolve::Unknown | Resolve::Contradicted => false,
        }
    }

    /// True when its messages must not be there.
    pub(super) fn is_forbidden(&self) -> bool {
        self.decision == Decision::Rollback || self.prepared == Outcome::Refused
    }
}
