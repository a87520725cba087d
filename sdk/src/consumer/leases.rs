use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// The leases of the messages that are here, with reusable keys, so that a message costs
/// neither an allocation nor hashing.
pub(super) struct Leases {
    places: Vec<Option<Lease>>,
    free: Vec<usize>,
    invisible: Duration,
    handle_time_max: Duration,
}

struct Lease {
    receipt: Bytes,
    extend_at: Instant,
    /// No longer extended after this.
    give_up_at: Instant,
}

impl Leases {
    pub(super) fn new(invisible: Duration, handle_time_max: Duration) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            invisible,
            handle_time_max,
        }
    }

    pub(super) fn insert(&mut self, receipt: Bytes, now: Instant) -> usize {
        let lease = Some(Lease {
            receipt,
            extend_at: now + self.invisible / 3,
            give_up_at: now + self.handle_time_max,
        });
        let free = self.free.pop();
        match free.and_then(|key| Some((key, self.places.get_mut(key)?))) {
            Some((key, place)) => {
                *place = lease;
                key
            }
            None => {
                self.places.push(lease);
                self.places.len() - 1
            }
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Bytes> {
        let lease = self.places.get_mut(key)?.take()?;
        self.free.push(key);
        Some(lease.receipt)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Names every lease that has to be extended now.
    pub(super) fn due(&mut self, now: Instant, mut extend: impl FnMut(Bytes)) {
        for lease in self.places.iter_mut().flatten() {
            if lease.extend_at <= now && now < lease.give_up_at {
                lease.extend_at = now + self.invisible / 3;
                extend(lease.receipt.clone());
            }
        }
    }
}
