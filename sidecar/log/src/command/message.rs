//! What is stored of a message, and what tells a repeated message from a new one.

use std::sync::Arc;

use bytes::Bytes;

use super::TopicId;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a topic of this data group.
    Here(TopicId),
    /// To a topic of another data group: it is forwarded there when its transaction has been
    /// committed.
    There {
        /// The other data group.
        group: u32,
        /// A legal topic name.
        topic: Arc<str>,
    },
}

impl From<TopicId> for Destination {
    fn from(topic: TopicId) -> Self {
        Self::Here(topic)
    }
}

impl Destination {
    /// True when it is in another data group.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self, Self::There { .. })
    }
}

/// A message of a committed transaction of another data group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedMessage {
    /// Where it goes: a legal topic name.
    pub topic: Arc<str>,
    /// As in [`NewMessage`].
    pub key_hash: u64,
    /// As in [`NewMessage`].
    pub tag_hash: u32,
    /// As in [`NewMessage`].
    pub deliver_at_ms: u64,
    /// The encoded message, as it was prepared.
    pub stored: Bytes,
}

/// One message on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Where it goes. Only messages of a transaction can go to another data group.
    pub destination: Destination,
    /// Hash (xxh3) of the message group; 0 when no order is asked for. Messages with the
    /// same hash get into the same queue, in the order in which they came.
    pub key_hash: u64,
    /// Hash of the tag; 0 when there is none.
    pub tag_hash: u32,
    /// Not visible before this instant, in milliseconds since the Unix epoch; 0 is now.
    pub deliver_at_ms: u64,
    /// The body is not in `stored` but comes from the fence: committing the transaction
    /// takes a replacement for this message.
    pub from_fence: bool,
    /// The encoded message, which the log does not look into.
    pub stored: Bytes,
}

/// Marks one operation of a producer, so that a repetition of it is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSequence {
    /// The producer's id.
    pub producer: u128,
    /// Grows when a producer with the same id starts anew; older ones are refused.
    pub epoch: u32,
    /// 1 for the first operation of an epoch, then one more each time. What the producer sends
    /// to other data groups is missing here.
    pub sequence: u64,
    /// The number of the operation before this one that its stream has sent to this data
    /// group; 0 when there is none. With one data group it is always `sequence - 1`.
    pub after: u64,
}

impl ProducerSequence {
    /// An operation of a producer that sends everything to one data group.
    #[must_use]
    pub fn dense(producer: u128, epoch: u32, sequence: u64) -> Self {
        Self {
            producer,
            epoch,
            sequence,
            after: sequence.saturating_sub(1),
        }
    }

    /// True when it follows the operation before it without a gap.
    pub(crate) fn is_dense(&self) -> bool {
        self.after == self.sequence.saturating_sub(1)
    }
}
