/// A message that is neither done nor still to be offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// See [`Candidate::key_hash`](super::Candidate::key_hash).
    pub(super) key_hash: u64,
    /// The latest lease; 0 before the first one of this machine.
    pub(super) nonce: u64,
    /// How often it was delivered.
    pub(super) deliveries: u32,
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Behind another message of its message group.
    Blocked {
        /// When it may be delivered, once it is its turn.
        visible_at_ms: u64,
    },
    /// May be leased. With a nonce: its lease ran out, and its holder may still ack.
    Ready,
    /// Somebody works on it.
    Leased {
        /// Until when.
        deadline_ms: u64,
    },
    /// For its next delivery.
    Waiting {
        /// Until when.
        visible_at_ms: u64,
    },
    /// How its lease ended is being recorded.
    Settling {
        /// The latest record about it.
        persist: u64,
    },
}

impl Slot {
    /// When the machine must look at it by itself.
    pub(super) fn timer_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Leased { deadline_ms } => Some(deadline_ms),
            Phase::Waiting { visible_at_ms } => Some(visible_at_ms),
            Phase::Blocked { .. } | Phase::Ready | Phase::Settling { .. } => None,
        }
    }
}
