use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use outrigger_core::lease::{Lease, Receipt};
use outrigger_log::IndexEntry;
use tokio::sync::mpsc;

use super::{Filter, worker::Worker};

/// How many more messages one consumer wants, of all its topics together.
#[derive(Debug, Default)]
pub(super) struct Credits(AtomicU32);

impl Credits {
    pub(super) fn new(count: u32) -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(count)))
    }

    pub(super) fn available(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Adds credits; false, and nothing added, when there would be more than `limit`.
    pub(super) fn add(&self, count: u32, limit: u32) -> bool {
        let add = |available: u32| available.checked_add(count).filter(|sum| *sum <= limit);
        let added = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        added.is_ok()
    }

    /// Takes at most `max`.
    pub(super) fn take(&self, max: u32) -> u32 {
        let mut taken = 0;
        let take = |available: u32| {
            taken = available.min(max);
            Some(available - taken)
        };
        // It never refuses.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken
    }

    /// Puts back what was taken and not used.
    pub(super) fn put_back(&self, count: u32) {
        self.0.fetch_add(count, Ordering::AcqRel);
    }
}

/// A message that was leased to a consumer and is not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leased {
    pub(super) entry: IndexEntry,
    pub(super) lease: Lease,
}

/// Messages of one topic for one consumer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) worker: Arc<Worker>,
    pub(super) filter: Arc<Filter>,
    pub(super) messages: Vec<Leased>,
}

impl Batch {
    pub(super) fn receipts(&self) -> Vec<Receipt> {
        let messages = self.messages.iter();
        messages.map(|message| message.lease.receipt).collect()
    }
}

/// A consumer, as one worker knows it. What it may be sent is bounded by its credits, so
/// the channel needs no bound of its own.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) credits: Arc<Credits>,
    pub(super) invisible_ms: u64,
    pub(super) deliver: mpsc::UnboundedSender<Batch>,
}
