//! What the log can be asked to do, and what it answers.
//!
//! Every durable change is a [`Command`]. Commands are written in batches, one Raft entry
//! each; every replica applies them in the same order with the same answer.

mod batch;
mod decode;
mod durability;
mod encode;
mod guard_input;
mod id;
mod message;
mod outcome;
mod recorded;
#[cfg(test)]
mod tests;

pub use batch::{Batch, CodecError};
pub use durability::Durability;
pub use id::{ConsumerGroupId, TopicId, TransactionId};
pub use message::{Destination, ForwardedMessage, NewMessage, ProducerSequence};
pub use outcome::{Outcome, Refusal};
pub(crate) use recorded::{
    RecordedCommand, RecordedDestination, RecordedForwarded, RecordedMessage, Span,
};
pub(crate) use {
    decode::durability as decode_durability, decode::group_config as decode_group_config,
    decode::verdict as decode_verdict,
};
pub(crate) use {encode::group_config as encode_group_config, encode::verdict as encode_verdict};

use bytes::Bytes;
use outrigger_core::saga::ledger;
use outrigger_core::{guard, half_message, lease};

use crate::state::Limits;

/// Most queues that a topic can have.
pub const TOPIC_QUEUES_MAX: u32 = 1_024;

/// Where a new consumer group starts reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the oldest message that is kept.
    #[default]
    First,
    /// After the newest message at the time the group is created.
    Last,
}

/// How a consumer group consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// Where the group starts.
    pub start_from: StartFrom,
    /// Deliveries before a message goes to the dead-letter topic.
    pub max_attempts: u32,
    /// Waits before the second, third, ... delivery; the last one repeats.
    pub retry_delays_ms: Vec<u64>,
}

impl From<ledger::Command> for Command {
    fn from(command: ledger::Command) -> Self {
        Self::Saga(Box::new(command))
    }
}

impl Command {
    /// True when it brings messages that nothing was decided about.
    pub(crate) fn is_new_message(&self) -> bool {
        matches!(self, Self::Send { .. } | Self::Prepare { .. })
    }

    /// True when it brings messages, be it that another data group has decided about them.
    pub(crate) fn is_message(&self) -> bool {
        self.is_new_message() || matches!(self, Self::Forwarded { .. })
    }
}

/// One durable change.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Makes a topic; an existing one answers with its id and stays as it is.
    CreateTopic {
        /// A legal topic name.
        name: String,
        /// 1 to [`TOPIC_QUEUES_MAX`].
        queues: u32,
        /// Of sends that do not choose one.
        durability: Durability,
    },
    /// Changes when sends to a topic are answered that do not choose it themselves.
    SetTopicDurability {
        /// The topic.
        topic: TopicId,
        /// From now on.
        durability: Durability,
    },
    /// Makes a consumer group; an existing one answers with its id and stays as it is.
    CreateConsumerGroup {
        /// A legal group name.
        name: String,
        /// How the group consumes.
        config: ConsumerGroupConfig,
    },
    /// Stores one message, visible at once or when it is due.
    Send {
        /// The message.
        message: NewMessage,
        /// Recognises a repetition.
        sequence: Option<ProducerSequence>,
    },
    /// Consumes the sequence number of an operation that was refused before it got here.
    SkipSequence(ProducerSequence),
    /// Stores the messages of a transaction, invisible until it is resolved.
    Prepare {
        /// The client's id of the transaction.
        id: TransactionId,
        /// Who can say how the local transaction ended.
        producer_group: String,
        /// Tells a repetition from other content under the same id.
        fingerprint: u128,
        /// At least one.
        messages: Vec<NewMessage>,
    },
    /// Commits or rolls back.
    Resolve {
        /// Which transaction.
        id: TransactionId,
        /// How the local transaction ended.
        verdict: half_message::Verdict,
        /// The stored bytes, whole, of messages whose body came from the fence, by their
        /// place in the transaction.
        replacements: Vec<(u32, Bytes)>,
    },
    /// Sets a transaction aside for a person.
    Park {
        /// Which transaction.
        id: TransactionId,
    },
    /// Commits or rolls back by hand; kept in the transaction's audit.
    Decide {
        /// Which transaction.
        id: TransactionId,
        /// What was decided.
        verdict: half_message::Verdict,
        /// As with [`Command::Resolve`].
        replacements: Vec<(u32, Bytes)>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Takes a parked transaction back into check-back; kept in its audit.
    Resume {
        /// Which transaction.
        id: TransactionId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Acknowledgements and retries of one queue of one consumer group.
    Progress {
        /// The consumer group.
        group: ConsumerGroupId,
        /// The topic.
        topic: TopicId,
        /// The queue.
        queue: u32,
        /// In the order in which they happened.
        events: Vec<lease::Event>,
    },
    /// Puts a message into the group's dead-letter topic `%DLQ%group`, as a pointer to the
    /// same stored bytes, and acknowledges it. The topic is made when it does not exist.
    DeadLetter {
        /// The consumer group that gives up.
        group: ConsumerGroupId,
        /// The topic.
        topic: TopicId,
        /// The queue.
        queue: u32,
        /// The message.
        offset: u64,
    },
    /// One step of an idempotency guard.
    Guard {
        /// Keeps the keys of different users apart.
        scope: String,
        /// The key.
        key: Bytes,
        /// The step.
        input: guard::Input,
    },
    /// Makes delayed messages that are due visible. The leader proposes it by itself.
    Due {
        /// Everything due at this instant or before, in milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// Lets the log's oldest entries go, with the messages in them. Entries that a
    /// half-message, a delayed message or a dead letter still needs stay, and all after
    /// them. The leader proposes it by itself.
    Expire {
        /// The index of the last entry that is not needed any more.
        upto: u64,
    },
    /// Delivers messages of transactions that another data group has committed. What it has
    /// delivered before is left out; a gap is refused, and nothing is taken then.
    Forwarded {
        /// The other data group.
        source: u32,
        /// The number of the first message: the source numbers what it has for this data
        /// group without gaps, from 1 on.
        first: u64,
        /// How many queues a topic gets that does not exist yet, 1 to [`TOPIC_QUEUES_MAX`].
        queues: u32,
        /// The messages, in the order of their numbers.
        messages: Vec<ForwardedMessage>,
    },
    /// Lets go of messages that another data group has delivered.
    ForwardDone {
        /// The other data group.
        target: u32,
        /// The number of the last one of them.
        upto: u64,
    },
    /// One change to the sagas of the data group.
    Saga(Box<ledger::Command>),
    /// Sets the bounds of the state from here on. The leader proposes it by itself when it was
    /// started with others than those in force.
    SetLimits(Limits),
}
