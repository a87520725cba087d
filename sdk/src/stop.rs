use std::sync::Arc;

use tokio::sync::watch;

/// A handle that ends long-running work gracefully.
///
/// All clones are one handle: when [`Stop::stop`] is called on any of them, everything
/// that was given one finishes what it has begun and returns.
///
/// ```
/// # async fn example() {
/// let stop = outrigger_sdk::Stop::new();
/// let other = stop.clone();
/// assert!(!stop.is_stopped());
/// other.stop();
/// stop.stopped().await;
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example());
/// ```
#[derive(Debug, Clone)]
pub struct Stop {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A handle that has not been stopped.
    pub fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Asks for the end. Returns at once; the work says itself when it has ended.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the end has been asked for.
    pub fn is_stopped(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.sender.subscribe().wait_for(|stopped| *stopped).await;
    }
}
