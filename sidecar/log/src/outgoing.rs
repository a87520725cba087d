use std::sync::Arc;

use crate::queue_index::IndexEntry;
use crate::state::OutgoingMessage;

/// A message of a committed transaction that waits until it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number among those for its data group, from 1 on without gaps.
    pub number: u64,
    /// Where it goes.
    pub topic: Arc<str>,
    /// Not visible before this instant, in milliseconds since the Unix epoch; 0 is at once.
    pub deliver_at_ms: u64,
    /// Where its stored bytes are; the offset is its number.
    pub stored: IndexEntry,
}

impl Outgoing {
    pub(crate) fn new(number: u64, message: OutgoingMessage) -> Self {
        Self {
            number,
            topic: message.topic,
            deliver_at_ms: message.deliver_at_ms,
            stored: IndexEntry {
                offset: number,
                place: message.place,
                length: message.length,
                time_ms: 0,
                tag_hash: message.tag_hash,
                key_hash: message.key_hash,
            },
        }
    }
}
