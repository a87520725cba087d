use std::{sync::Arc, time::Duration};

use outrigger_core::saga::{ErrorClass, Outcome};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    Call, Endpoint, NotTried, Options,
    authorities::Authorities,
    authority::{Authority, not_tried},
    ended::Ended,
    gauges,
};

/// Calls participants. Cheap to clone; clones share connections, limits and breakers.
#[derive(Clone, Debug)]
pub struct Caller {
    options: Arc<Options>,
    authorities: Arc<Authorities>,
}

impl Caller {
    /// A caller that knows nobody yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let options = Arc::new(options);
        Self {
            authorities: Arc::new(Authorities::new(Arc::clone(&options))),
            options,
        }
    }

    /// Makes one call and says how it ended. It takes no longer than
    /// [`Options::waiting_ms_max`] and the call's own time together.
    ///
    /// Dropping the future gives the call up; the participant may have seen it.
    ///
    /// # Errors
    /// When the call was kept back. Nothing was sent then.
    pub async fn call(&self, call: &Call) -> Result<Outcome, NotTried> {
        let outcome = match self.authorities.of(&call.endpoint) {
            Ok(authority) => self.call_at(&authority, call).await,
            Err(why) => Err(not_tried(Duration::ZERO, why, &self.options)),
        };
        gauges::count(call, &outcome);
        outcome
    }

    async fn call_at(&self, authority: &Authority, call: &Call) -> Result<Outcome, NotTried> {
        let leave = authority.leave().await?;
        let limit_ms = call.timeout_ms.min(self.options.call_timeout_ms_max);
        let started = Instant::now();
        let ended = timeout(Duration::from_millis(limit_ms), leave.call(call)).await;
        let ended = ended.unwrap_or_else(|_| {
            let message = format!("no answer in {limit_ms} ms");
            Ended::unanswered(ErrorClass::TimedOut, message)
        });
        leave.ended(ended.authority);
        gauges::took(call, started.elapsed());
        Ok(ended.outcome)
    }

    /// For how long calls to this endpoint would be kept back because those before them did
    /// not reach it; nothing, if one would be tried now.
    #[must_use]
    pub fn kept_back_for(&self, endpoint: &Endpoint) -> Option<Duration> {
        self.authorities.known_of(endpoint)?.closed_for()
    }

    /// Forgets whom nobody calls any more, and keeps the gauges up to date, for as long as
    /// it is polled.
    pub async fn keep(&self) {
        gauges::describe();
        let mut ticks = interval(gauges::INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.authorities.forget_idle();
            gauges::set(&self.authorities);
        }
    }
}
