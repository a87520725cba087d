//! A command as it stands in an entry: borrowed from the entry's body, and with the place
//! of each message in it instead of the message itself.

use outrigger_core::saga::ledger;
use outrigger_core::{guard, half_message, lease};

use super::{
    ConsumerGroupConfig, ConsumerGroupId, Durability, ProducerSequence, TopicId, TransactionId,
};
use crate::state::Limits;

/// Where a message's stored bytes stand in an entry's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A [`super::Destination`] as it stands in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordedDestination<'a> {
    Here(TopicId),
    There { group: u32, topic: &'a str },
}

/// A [`super::NewMessage`] without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedMessage<'a> {
    pub(crate) destination: RecordedDestination<'a>,
    pub(crate) key_hash: u64,
    pub(crate) tag_hash: u32,
    pub(crate) deliver_at_ms: u64,
    pub(crate) from_fence: bool,
    pub(crate) span: Span,
}

/// A [`super::ForwardedMessage`] without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedForwarded<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key_hash: u64,
    pub(crate) tag_hash: u32,
    pub(crate) deliver_at_ms: u64,
    pub(crate) span: Span,
}

/// A [`super::Command`] as it stands in an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RecordedCommand<'a> {
    CreateTopic {
        name: &'a str,
        queues: u32,
        durability: Durability,
    },
    SetTopicDurability {
        topic: TopicId,
        durability: Durability,
    },
    CreateConsumerGroup {
        name: &'a str,
        config: ConsumerGroupConfig,
    },
    Send {
        message: RecordedMessage<'a>,
        sequence: Option<ProducerSequence>,
    },
    SkipSequence(ProducerSequence),
    Prepare {
        id: TransactionId,
        producer_group: &'a str,
        fingerprint: u128,
        messages: Vec<RecordedMessage<'a>>,
    },
    Resolve {
        id: TransactionId,
        verdict: half_message::Verdict,
        replacements: Vec<(u32, Span)>,
    },
    Park {
        id: TransactionId,
    },
    Decide {
        id: TransactionId,
        verdict: half_message::Verdict,
        replacements: Vec<(u32, Span)>,
        reason: &'a str,
    },
    Resume {
        id: TransactionId,
        reason: &'a str,
    },
    Progress {
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
        events: Vec<lease::Event>,
    },
    DeadLetter {
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
        offset: u64,
    },
    Guard {
        scope: &'a str,
        key: &'a [u8],
        input: guard::Input,
    },
    /// Delayed messages that are due become visible. Proposed by the leader itself.
    Due {
        until_ms: u64,
    },
    /// The log's oldest entries may go. Proposed by the leader itself.
    Expire {
        upto: u64,
    },
    /// Messages from another data group.
    Forwarded {
        source: u32,
        first: u64,
        queues: u32,
        messages: Vec<RecordedForwarded<'a>>,
    },
    /// Messages that another data group has.
    ForwardDone {
        target: u32,
        upto: u64,
    },
    /// A change to the sagas. It shares nothing with the entry's body, so that what it leaves
    /// behind does not keep the whole body in memory.
    Saga(Box<ledger::Command>),
    /// Other bounds of the state. Proposed by the leader itself.
    SetLimits(Limits),
}
