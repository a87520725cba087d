use super::Options;
use crate::retry::full_jitter;

/// Keeps checks away from a target that cannot be reached, and lets one through from time
/// to time to find out whether it can be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Checks pass.
    Closed {
        /// Unreachable answers in a row.
        failures: u32,
    },
    /// No check passes.
    Open {
        until_ms: u64,
        /// How often it has opened in a row.
        openings: u32,
    },
    /// One check has passed.
    HalfOpen { probe: u128, openings: u32 },
}

impl Breaker {
    pub(super) fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// When a check may pass at the earliest; never, while a probe is under way.
    pub(super) fn passes_at_ms(self) -> Option<u64> {
        match self {
            Self::Closed { .. } => Some(0),
            Self::Open { until_ms, .. } => Some(until_ms),
            Self::HalfOpen { .. } => None,
        }
    }

    /// Whether the check of a transaction passes now.
    pub(super) fn admit(&mut self, now_ms: u64, id: u128) -> bool {
        match *self {
            Self::Closed { .. } => true,
            Self::Open { until_ms, openings } if until_ms <= now_ms => {
                *self = Self::HalfOpen {
                    probe: id,
                    openings,
                };
                true
            }
            Self::Open { .. } | Self::HalfOpen { .. } => false,
        }
    }

    pub(super) fn reached(&mut self) {
        *self = Self::Closed { failures: 0 };
    }

    pub(super) fn unreachable(&mut self, now_ms: u64, id: u128, random: u64, options: &Options) {
        let openings = match *self {
            Self::Closed { failures } if failures + 1 < options.breaker_failures_max => {
                *self = Self::Closed {
                    failures: failures + 1,
                };
                return;
            }
            Self::Closed { .. } => 1,
            Self::HalfOpen { probe, openings } if probe == id => openings.saturating_add(1),
            // Checks from before it opened.
            Self::HalfOpen { .. } | Self::Open { .. } => return,
        };
        let (base_ms, cap_ms) = (options.breaker_open_base_ms, options.breaker_open_cap_ms);
        let open_ms = full_jitter(base_ms, cap_ms, openings, random).max(1);
        *self = Self::Open {
            until_ms: now_ms.saturating_add(open_ms),
            openings,
        };
    }
}
