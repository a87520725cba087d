use std::time::Duration;

use backoff::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Waits between attempts to reach the sidecar again: exponential with jitter, without an
/// end of its own. Who uses it bounds the total time.
pub(crate) struct Reconnect {
    delays: ExponentialBackoff,
}

const DELAY_FIRST_MS: u64 = 10;
/// A new leader is there within tenths of a second; waiting longer than that would be noticed.
const DELAY_MAX_MS: u64 = 100;

impl Reconnect {
    pub(crate) fn new() -> Self {
        Self { delays: delays() }
    }

    /// To be called when the sidecar has answered something.
    pub(crate) fn succeeded(&mut self) {
        self.delays = delays();
    }

    pub(crate) async fn wait(&mut self) {
        let delay = self
            .delays
            .next()
            .unwrap_or(Duration::from_millis(DELAY_MAX_MS));
        tokio::time::sleep(delay).await;
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(DELAY_FIRST_MS))
        .with_max_delay(Duration::from_millis(DELAY_MAX_MS))
        .without_max_times()
        .with_jitter()
        .build()
}
