//! A transaction, as readers of the log see it.

use std::sync::Arc;

use outrigger_core::half_message::State;

use crate::command::{Destination, TransactionId};
use crate::queue_index::IndexEntry;
use crate::state::{AuditEntry, TransactionRecord};

/// A message of a transaction that waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMessage {
    /// Where it goes when the transaction is committed.
    pub destination: Destination,
    /// Not visible before this instant, in milliseconds since the Unix epoch; 0 is at once.
    pub deliver_at_ms: u64,
    /// Its body comes from the fence, so committing takes a replacement.
    pub from_fence: bool,
    /// Where its stored bytes are; the offset is its place in the transaction.
    pub stored: IndexEntry,
}

/// A half-message transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The client's id.
    pub id: TransactionId,
    /// Who can say how the local transaction ended.
    pub producer_group: Arc<str>,
    /// What is recorded of it.
    pub state: State,
    /// When it was prepared, in milliseconds since the Unix epoch.
    pub prepared_at_ms: u64,
    /// When it got its verdict.
    pub resolved_at_ms: Option<u64>,
    /// Empty once the transaction has its verdict.
    pub messages: Vec<TransactionMessage>,
    /// What was done by hand, oldest first.
    pub audit: Vec<AuditEntry>,
}

/// A transaction that waits for its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Unresolved {
    /// Its place in the order of preparation, from 1; where the next page begins.
    pub sequence: u64,
    /// The transaction.
    pub transaction: Transaction,
}

impl Transaction {
    /// Where the stored bytes of its messages are, for reading them.
    #[must_use]
    pub fn stored(&self) -> Vec<IndexEntry> {
        self.messages.iter().map(|message| message.stored).collect()
    }

    pub(crate) fn new(id: TransactionId, record: TransactionRecord) -> Self {
        let messages = record.messages.iter().zip(0..);
        let message = |(message, place): (&crate::state::StoredMessage, u64)| TransactionMessage {
            destination: message.destination.clone(),
            deliver_at_ms: message.deliver_at_ms,
            from_fence: message.from_fence,
            stored: IndexEntry {
                offset: place,
                place: message.place,
                length: message.length,
                time_ms: record.prepared_at_ms,
                tag_hash: message.tag_hash,
                key_hash: message.key_hash,
            },
        };
        Self {
            id,
            producer_group: record.producer_group,
            state: record.state,
            prepared_at_ms: record.prepared_at_ms,
            resolved_at_ms: record.resolved_at_ms,
            messages: messages.map(message).collect(),
            audit: record.audit,
        }
    }
}
