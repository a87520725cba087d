use std::time::{Duration, Instant};

use rand::Rng as _;

use super::{Conflict, Error};

/// How often a transaction is tried when others are in its way.
pub const ATTEMPTS_MAX: u32 = 10;
/// The bound of the first wait, in milliseconds; it doubles each time. The wait itself is
/// anything from nothing to the bound.
const WAIT_FIRST_MAX_MS: u64 = 8;
/// What the bound stops doubling at, in milliseconds.
const WAIT_MAX_MS: u64 = 500;
/// After how long no further attempt is begun, in milliseconds: whoever called has better
/// things to do than to wait longer.
const TRY_FOR_MAX_MS: u64 = 5_000;

/// Capped exponential backoff with full jitter.
pub(super) struct Retry {
    attempts: u32,
    began: Instant,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self {
            attempts: 0,
            began: Instant::now(),
        }
    }

    /// Waits before the next attempt, or says that there is none.
    pub(super) async fn pause(&mut self, source: Conflict) -> Result<(), Error> {
        self.attempts += 1;
        let too_late = self.began.elapsed() >= Duration::from_millis(TRY_FOR_MAX_MS);
        if too_late || self.attempts >= ATTEMPTS_MAX {
            return Err(Error::Busy {
                attempts: self.attempts,
                source,
            });
        }
        tracing::debug!(attempt = self.attempts, %source, "others were in the way");
        let wait = rand::rng().random_range(Duration::ZERO..=wait_max(self.attempts));
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The bound of the wait after that many attempts.
fn wait_max(attempts: u32) -> Duration {
    let doubled = WAIT_FIRST_MAX_MS.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    Duration::from_millis(doubled.min(WAIT_MAX_MS))
}
