//! Waiting for what comes by itself.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up: long enough for a slow machine. Nothing
/// waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Waits until something is so.
///
/// # Panics
///
/// When it does not come to that.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(POLL).await;
    }
}
