use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock of the leader, never running backwards.
#[derive(Debug)]
pub(crate) struct Clock {
    last_ms: AtomicU64,
}

impl Clock {
    /// A clock that shows at least this time.
    pub(crate) fn not_before(last_ms: u64) -> Self {
        Self {
            last_ms: AtomicU64::new(last_ms),
        }
    }

    /// The time in milliseconds since the Unix epoch, at least what was answered before.
    pub(crate) fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = since_epoch.map_or(0, |time| time.as_millis() as u64);
        self.last_ms
            .fetch_max(now_ms, Ordering::Relaxed)
            .max(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_set_the_log_back() {
        let ahead = Clock::not_before(0).now_ms() + 3_600_000;
        let clock = Clock::not_before(ahead);
        assert_eq!(clock.now_ms(), ahead);
        assert_eq!(clock.now_ms(), ahead);
    }
}
