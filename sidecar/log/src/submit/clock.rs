use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time of day comes from.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// A clock that shows milliseconds since the Unix epoch, as in a simulation.
    #[must_use]
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The system's.
    fn default() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            since_epoch.map_or(0, |time| time.as_millis() as u64)
        })
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// The wall clock of the leader, never running backwards.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: WallClock,
    last_ms: AtomicU64,
}

impl Clock {
    /// A clock that shows at least this time.
    pub(crate) fn not_before(wall: WallClock, last_ms: u64) -> Self {
        Self {
            wall,
            last_ms: AtomicU64::new(last_ms),
        }
    }

    /// The time in milliseconds since the Unix epoch, at least what was answered before.
    pub(crate) fn now_ms(&self) -> u64 {
        let now_ms = self.wall.now_ms();
        self.last_ms
            .fetch_max(now_ms, Ordering::Relaxed)
            .max(now_ms)
    }

    /// Goes on from this time, unless it is later already.
    pub(crate) fn raise(&self, last_ms: u64) {
        self.last_ms.fetch_max(last_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_set_the_log_back() {
        let ahead = Clock::not_before(WallClock::default(), 0).now_ms() + 3_600_000;
        let clock = Clock::not_before(WallClock::default(), ahead);
        assert_eq!(clock.now_ms(), ahead);
        assert_eq!(clock.now_ms(), ahead);
    }
}
