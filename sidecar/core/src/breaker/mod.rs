//! A circuit breaker: keeps calls away from a target that cannot be reached, and lets one
//! through from time to time to find out whether it can be again.

#[cfg(test)]
mod tests;

use crate::retry::full_jitter;

/// How a breaker behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Calls in a row that did not reach the target before it opens; 0 is taken as 1.
    /// Default 5.
    pub failures_max: u32,
    /// Ceiling of the time that it stays open first; it doubles then. Default 1,000.
    pub open_base_ms: u64,
    /// Highest ceiling of the time that it stays open. Default 30,000.
    pub open_cap_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            failures_max: 5,
            open_base_ms: 1_000,
            open_cap_ms: 30_000,
        }
    }
}

/// The breaker of one target. Every call that [`Self::admit`] lets pass ends with
/// [`Self::reached`], [`Self::unreachable`] or [`Self::given_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass.
    Closed {
        /// Calls in a row that did not reach the target.
        failures: u32,
    },
    /// No call passes.
    Open {
        until_ms: u64,
        /// How often it has opened in a row.
        openings: u32,
    },
    /// One call has passed.
    HalfOpen { probe: u128, openings: u32 },
}

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// False from when it opens until the target was reached again.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self.0, State::Closed { .. })
    }

    /// When a call may pass at the earliest; never, while a probe is under way.
    #[must_use]
    pub fn passes_at_ms(self) -> Option<u64> {
        match self.0 {
            State::Closed { .. } => Some(0),
            State::Open { until_ms, .. } => Some(until_ms),
            State::HalfOpen { .. } => None,
        }
    }

    /// Whether a call passes now. The first one after the time that it stays open is the
    /// probe. `id` names the call, and no other one that is under way.
    pub fn admit(&mut self, now_ms: u64, id: u128) -> bool {
        match self.0 {
            State::Closed { .. } => true,
            State::Open { until_ms, openings } if until_ms <= now_ms => {
                self.0 = State::HalfOpen {
                    probe: id,
                    openings,
                };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// A call reached the target, whatever it was told there. However late, that is true.
    pub fn reached(&mut self) {
        *self = Self::default();
    }

    /// A call did not reach the target. `random` is any uniformly distributed number.
    pub fn unreachable(&mut self, now_ms: u64, id: u128, random: u64, options: &Options) {
        let openings = match self.0 {
            State::Closed { failures } if failures.saturating_add(1) < options.failures_max => {
                self.0 = State::Closed {
                    failures: failures.saturating_add(1),
                };
                return;
            }
            State::Closed { .. } => 1,
            State::HalfOpen { probe, openings } if probe == id => openings.saturating_add(1),
            // Calls from before it opened.
            State::HalfOpen { .. } | State::Open { .. } => return,
        };
        let (base_ms, cap_ms) = (options.open_base_ms, options.open_cap_ms);
        let open_ms = full_jitter(base_ms, cap_ms, openings, random).max(1);
        self.0 = State::Open {
            until_ms: now_ms.saturating_add(open_ms),
            openings,
        };
    }

    /// A call was ended by whoever made it. If it was the probe, the next call is one.
    pub fn given_up(&mut self, now_ms: u64, id: u128) {
        match self.0 {
            State::HalfOpen { probe, openings } if probe == id => {
                self.0 = State::Open {
                    until_ms: now_ms,
                    openings,
                };
            }
            State::HalfOpen { .. } | State::Open { .. } | State::Closed { .. } => {}
        }
    }
}
