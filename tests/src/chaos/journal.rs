//! Everything that applications attempted and were told, while it happens.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use outrigger_proto::v1;
use tokio::time::Instant;
use uuid::Uuid;

use crate::checker::{Ack, Decision, Delivery, History, Send, Transaction};

/// The history of a run in the making.
#[derive(Debug, Default)]
pub struct Journal {
    history: Mutex<History>,
    decisions: Mutex<HashMap<Uuid, Decision>>,
    /// Acknowledged sends of each producer, for seeing progress.
    progress: Mutex<HashMap<String, u64>>,
    number: AtomicU64,
    filling: AtomicBool,
    sending_over: AtomicBool,
    consuming_over: AtomicBool,
}

impl Journal {
    /// A number that was not given before.
    pub fn number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a send whose outcome is known.
    pub fn sent(&self, send: Send) {
        lock(&self.history).sends.push(send);
    }

    /// Notes that there is somebody of whom something is to be acknowledged.
    pub fn expect(&self, who: &str) {
        lock(&self.progress).entry(who.to_owned()).or_default();
    }

    /// Notes that something of `who` was acknowledged.
    pub fn progressed(&self, who: &str) {
        let mut progress = lock(&self.progress);
        match progress.get_mut(who) {
            Some(count) => *count += 1,
            None => drop(progress.insert(who.to_owned(), 1)),
        }
    }

    /// How much of each producer was acknowledged.
    pub fn progress(&self) -> HashMap<String, u64> {
        lock(&self.progress).clone()
    }

    /// Decides how a local transaction ends, before anybody hears of it.
    pub fn decide(&self, id: Uuid, decision: Decision) {
        lock(&self.decisions).insert(id, decision);
    }

    /// How a local transaction ended.
    pub fn decision(&self, id: Uuid) -> Option<Decision> {
        lock(&self.decisions).get(&id).copied()
    }

    /// Notes a transaction with its outcomes.
    pub fn transacted(&self, transaction: Transaction) {
        lock(&self.history).transactions.push(transaction);
    }

    /// Notes what a consumer received.
    pub fn delivered(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        lock(&self.history).deliveries.extend(deliveries);
    }

    /// Notes acks that were confirmed.
    pub fn acknowledged(&self, acks: impl IntoIterator<Item = Ack>) {
        lock(&self.history).acks.extend(acks);
    }

    /// Whether much is to be sent, to fill the disks.
    pub fn set_filling(&self, filling: bool) {
        self.filling.store(filling, Ordering::Relaxed);
    }

    /// True while much is to be sent.
    pub fn is_filling(&self) -> bool {
        self.filling.load(Ordering::Relaxed)
    }

    /// Ends sending.
    pub fn end_sending(&self) {
        self.sending_over.store(true, Ordering::Relaxed);
    }

    /// True when nothing more is to be sent.
    pub fn is_sending_over(&self) -> bool {
        self.sending_over.load(Ordering::Relaxed)
    }

    /// Ends consuming.
    pub fn end_consuming(&self) {
        self.consuming_over.store(true, Ordering::Relaxed);
    }

    /// True when nothing more is to be received.
    pub fn is_consuming_over(&self) -> bool {
        self.consuming_over.load(Ordering::Relaxed)
    }

    /// What was noted up to now.
    pub fn take(&self) -> History {
        std::mem::take(&mut lock(&self.history))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in a message, as far as its sender decides it.
pub fn fingerprint(message: &v1::Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.topic.hash(&mut hasher);
    message.message_id.hash(&mut hasher);
    message.message_group.hash(&mut hasher);
    message.body.hash(&mut hasher);
    hasher.finish()
}

/// The clock that nodes on this machine use, too.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Waits until something holds; false when it does not in time.
pub async fn eventually(limit_ms: u64, mut holds: impl AsyncFnMut() -> bool) -> bool {
    const LOOK_AGAIN_MS: u64 = 25;
    let deadline = Instant::now() + Duration::from_millis(limit_ms);
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}
