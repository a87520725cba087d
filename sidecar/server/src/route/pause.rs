use std::time::Duration;

use tokio::time::Instant;

use super::Options;

/// Waits between attempts to open a stream again: each twice as long as the one before, up to
/// a limit.
#[derive(Debug)]
pub(super) struct Pause {
    least_ms: u64,
    most_ms: u64,
    next_ms: u64,
}

impl Pause {
    pub(super) fn new(options: &Options) -> Self {
        let least_ms = options.retry_ms_min.max(1);
        Self {
            least_ms,
            most_ms: options.retry_ms_max.max(least_ms),
            next_ms: least_ms,
        }
    }

    /// An attempt was successful.
    pub(super) fn succeeded(&mut self) {
        self.next_ms = self.least_ms;
    }

    /// When the next attempt is to be made.
    pub(super) fn next(&mut self) -> Instant {
        let longest_ms = self.next_ms;
        self.next_ms = longest_ms.saturating_mul(2).min(self.most_ms);
        // Between half of it and all of it, so that not all streams come at once.
        let pause_ms = rand::random_range(longest_ms.div_ceil(2)..=longest_ms);
        Instant::now() + Duration::from_millis(pause_ms)
    }
}
