//! The answer to a command.

use outrigger_core::saga::ledger;
use outrigger_core::{guard, half_message};

#[cfg(doc)]
use super::Durability;
use super::{ConsumerGroupId, TopicId, TransactionId};

/// What came of one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The topic exists.
    Topic(TopicId),
    /// The consumer group exists.
    ConsumerGroup(ConsumerGroupId),
    /// The message is visible.
    Sent {
        /// Its queue.
        queue: u32,
        /// Its place in the queue.
        offset: u64,
    },
    /// The send was taken and nothing more is known: what was asked for is
    /// [`Durability::Accepted`].
    Accepted,
    /// A majority has the send in memory, and nothing more is known: what was asked for is
    /// [`Durability::Replicated`].
    Replicated,
    /// The message is stored and becomes visible when it is due.
    Scheduled,
    /// This operation of the producer was done before; nothing was stored again.
    Duplicate,
    /// The transaction's messages are stored.
    Prepared {
        /// The same transaction was prepared before; nothing was stored again.
        repeated: bool,
    },
    /// The verdict is recorded.
    Resolved {
        /// The same verdict was recorded before; nothing was delivered again.
        repeated: bool,
    },
    /// The transaction is set aside.
    Parked,
    /// The transaction is back in check-back.
    Resumed,
    /// Everything that the other data group has forwarded is delivered.
    Forwarded {
        /// Up to this number.
        upto: u64,
    },
    /// Done; there is nothing to say about it.
    Applied,
    /// What the guard said.
    Guard(guard::Outcome),
    /// What became of a change to the sagas; also that it was refused.
    Saga(Box<ledger::Answer>),
    /// Refused; nothing changed.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such topic.
    #[error("topic {} does not exist", .0.0)]
    UnknownTopic(TopicId),
    /// No such queue.
    #[error("topic {} has no queue {queue}: it has {queues}", topic.0)]
    UnknownQueue {
        /// The topic.
        topic: TopicId,
        /// The queue asked for.
        queue: u32,
        /// How many the topic has.
        queues: u32,
    },
    /// No such consumer group.
    #[error("consumer group {} does not exist", .0.0)]
    UnknownGroup(ConsumerGroupId),
    /// A queue holds no message at this offset.
    #[error("queue {queue} of topic {} has no offset {offset}", topic.0)]
    UnknownOffset {
        /// The topic.
        topic: TopicId,
        /// The queue.
        queue: u32,
        /// The offset asked for.
        offset: u64,
    },
    /// The number of queues is out of bounds.
    #[error("queues is {queues}, it must be 1 to {limit}")]
    QueuesOutOfBounds {
        /// The number asked for.
        queues: u32,
        /// The most that are allowed.
        limit: u32,
    },
    /// No such transaction: it was never prepared, or its verdict is no longer kept.
    #[error("transaction {0} does not exist")]
    TransactionNotFound(TransactionId),
    /// The transaction is resolved with the opposite verdict.
    #[error("transaction {id} is already resolved: {recorded:?}")]
    TransactionContradiction {
        /// The transaction.
        id: TransactionId,
        /// The verdict that stands.
        recorded: half_message::Verdict,
    },
    /// The transaction is resolved and cannot be set aside any more.
    #[error("transaction {id} is already resolved: {recorded:?}")]
    TransactionResolved {
        /// The transaction.
        id: TransactionId,
        /// The verdict that stands.
        recorded: half_message::Verdict,
    },
    /// The transaction was prepared with other content.
    #[error("transaction {0} was prepared with other content")]
    TransactionContentDiffers(TransactionId),
    /// Only a parked transaction can be resumed.
    #[error("transaction {0} is not parked")]
    TransactionNotParked(TransactionId),
    /// A transaction needs at least one message.
    #[error("transaction {0} has no messages")]
    TransactionEmpty(TransactionId),
    /// The body of a message comes from the fence, and it did not come with the commit.
    #[error("message {message} of transaction {id} has no body: it comes from the fence")]
    PayloadMissing {
        /// The transaction.
        id: TransactionId,
        /// The place of the message in the transaction.
        message: u32,
    },
    /// A replacement for a message that the transaction does not have.
    #[error("transaction {id} has no message {message}: it has {messages}")]
    UnknownMessage {
        /// The transaction.
        id: TransactionId,
        /// The place that was named.
        message: u32,
        /// How many messages the transaction has.
        messages: u32,
    },
    /// A sequence number was left out.
    #[error("sequence is {got}, the next one is {expected}")]
    SequenceGap {
        /// The next number of this producer.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The operation with this number was refused when it came first; nothing was stored.
    #[error("operation {sequence} of the producer was refused before, nothing was stored")]
    RefusedBefore {
        /// Its number.
        sequence: u64,
    },
    /// A newer producer with the same id has taken over.
    #[error("the producer's epoch is {epoch}, the current one is {current}")]
    StaleEpoch {
        /// The epoch that came.
        epoch: u32,
        /// The epoch that stands.
        current: u32,
    },
    /// Too many producers are being remembered.
    #[error("more than {limit} producers are active")]
    TooManyProducers {
        /// The most that are remembered.
        limit: u64,
    },
    /// Too many transactions wait for their verdict.
    #[error("more than {limit} transactions are unresolved")]
    TooManyUnresolved {
        /// The most that may wait.
        limit: u64,
    },
    /// Too many messages wait until they are due.
    #[error("more than {limit} messages are delayed")]
    TooManyDelayed {
        /// The most that may wait.
        limit: u64,
    },
    /// Too many messages wait until they are forwarded to other data groups.
    #[error("more than {limit} messages wait for other data groups")]
    TooManyOutgoing {
        /// The most that may wait.
        limit: u64,
    },
    /// A message outside of a transaction is bound for another data group.
    #[error("topic {topic:?} is in data group {group}, which has to take the message itself")]
    ElsewhereWithoutTransaction {
        /// The other data group.
        group: u32,
        /// The topic.
        topic: String,
    },
    /// Forwarded messages were left out.
    #[error("message {got} of data group {source_group} was forwarded, the next one is {expected}")]
    ForwardGap {
        /// Where the messages come from.
        source_group: u32,
        /// The next number.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// Messages are said to be delivered that were never there.
    #[error("message {upto} for data group {target} was delivered, but {last} is the last one")]
    NeverOutgoing {
        /// The other data group.
        target: u32,
        /// The number that came.
        upto: u64,
        /// The last number that was given.
        last: u64,
    },
    /// Too many topics.
    #[error("more than {limit} topics")]
    TooManyTopics {
        /// The most that there can be.
        limit: u32,
    },
    /// Too many consumer groups.
    #[error("more than {limit} consumer groups")]
    TooManyGroups {
        /// The most that there can be.
        limit: u32,
    },
    /// Scope and key of a guard are too long.
    #[error("scope and key of the guard have {bytes} bytes, the limit is {limit}")]
    GuardKeyTooLong {
        /// Their length together.
        bytes: usize,
        /// The most that they may have.
        limit: usize,
    },
}
