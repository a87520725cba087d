//! What goes into a [`Queue`](super::Queue) and what comes out of it.

use super::{Event, Receipt};
use crate::limits::{ATTEMPTS_COUNT_DEFAULT, RETRY_DELAYS_MS_DEFAULT};

/// How a queue is consumed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deliveries before a message becomes a dead letter; at least 1.
    pub max_attempts: u32,
    /// Waits before the second, third, ... delivery; the last one repeats.
    pub retry_delays_ms: Vec<u64>,
    /// How many messages are held at once: ready, leased, waiting for a retry, or behind
    /// another one of their message group.
    pub held_count_max: usize,
    /// How long a lease lasts on after the log failed to record how it ended, so that its
    /// holder can say so again.
    pub persist_retry_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_attempts: ATTEMPTS_COUNT_DEFAULT,
            retry_delays_ms: RETRY_DELAYS_MS_DEFAULT.into(),
            held_count_max: 262_144,
            persist_retry_ms: 5_000,
        }
    }
}

/// A message that may be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the queue.
    pub offset: u64,
    /// A hash of its message group; 0 for none. Two groups with one hash wait for each
    /// other, which is never wrong.
    pub key_hash: u64,
    /// Whether the consumer group's filter lets it through. What it does not let through
    /// is done at once.
    pub matches: bool,
}

/// Gives a message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack {
    /// Names the lease.
    pub receipt: Receipt,
    /// How long to wait before the next delivery, instead of what the retry table says.
    pub delay_ms: Option<u64>,
}

/// Prolongs a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extend {
    /// Names the lease.
    pub receipt: Receipt,
    /// The new time to live, from now.
    pub invisible_ms: u64,
}

/// What may happen to a queue.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// More messages, beginning at [`Queue::next_offer`](super::Queue::next_offer), without
    /// a gap; at most [`Queue::room`](super::Queue::room).
    Offer(&'a [Candidate]),
    /// The messages below this offset are gone for good: retention took them.
    Skip {
        /// The first offset that still exists.
        until: u64,
    },
    /// Lease messages to one consumer.
    Receive {
        /// At most so many.
        max: usize,
        /// For so long.
        invisible_ms: u64,
    },
    /// These are done.
    Ack {
        /// Comes back in the reply.
        request: u64,
        /// The leases.
        receipts: &'a [Receipt],
    },
    /// These are to be delivered again.
    Nack {
        /// Comes back in the reply.
        request: u64,
        /// The leases.
        nacks: &'a [Nack],
    },
    /// These take longer.
    Extend {
        /// Comes back in the reply.
        request: u64,
        /// The leases.
        extends: &'a [Extend],
    },
    /// These were leased but never sent: they are ready again, and it was no attempt.
    Release(&'a [Receipt]),
    /// [`Effect::Persist`] is durable.
    Persisted {
        /// Its id.
        id: u64,
    },
    /// [`Effect::Persist`] failed, or nobody knows.
    PersistFailed {
        /// Its id.
        id: u64,
    },
    /// Time has passed.
    Tick,
}

/// A message leased to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Names the lease, and the message.
    pub receipt: Receipt,
    /// When the lease ends unless it is extended.
    pub deadline_ms: u64,
}

/// What a driver must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this message to the consumer that receives.
    Deliver(Lease),
    /// Record the events, and copy the dead letters to the dead-letter topic; when all is
    /// durable say [`Input::Persisted`].
    Persist {
        /// Names this in the answer.
        id: u64,
        /// For [`Progress::apply`](super::Progress::apply).
        events: Vec<Event>,
        /// Offsets of messages that used up their attempts. Moving one acks it.
        dead_letters: Vec<u64>,
    },
    /// Answer an Ack, Nack or Extend. Receipts without an error are done, durably.
    Reply {
        /// The request's own number.
        request: u64,
        /// What was refused.
        errors: Vec<(Receipt, ReceiptError)>,
    },
    /// Answer an Ack or Nack that could not be recorded: it may be repeated.
    Unrecorded {
        /// The request's own number.
        request: u64,
    },
}

/// Why one receipt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The lease ran out, and the message was leased to another consumer since.
    #[error("the lease ran out and the message was leased again since")]
    Stale,
    /// There never was such a lease here.
    #[error("no such lease was given out")]
    Unknown,
    /// The message is done, or was given back, already.
    #[error("the lease was acknowledged or given back before")]
    Settled,
}

/// The driver is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Candidates must come without a gap.
    #[error("offset {got} was offered, {expected} is next")]
    NotContiguous {
        /// What must come next.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// More candidates than there is room for.
    #[error("{got} messages were offered, there is room for {limit}")]
    NoRoom {
        /// How many came.
        got: usize,
        /// How many may come.
        limit: usize,
    },
    /// Nothing with this id is being persisted.
    #[error("nothing with the id {id} is being persisted")]
    UnknownPersist {
        /// The id.
        id: u64,
    },
}
