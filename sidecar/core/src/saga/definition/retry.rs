use std::collections::BTreeMap;

use crate::{
    limits::{
        SAGA_ATTEMPTS_COUNT_DEFAULT, SAGA_ONGOING_BASE_MS_DEFAULT, SAGA_ONGOING_CAP_MS_DEFAULT,
        SAGA_ONGOING_COUNT_DEFAULT, SAGA_RETRY_BASE_MS_DEFAULT, SAGA_RETRY_CAP_MS_DEFAULT,
    },
    retry::full_jitter,
    saga::ErrorClass,
};

/// How often, and after which waits, a call without an outcome is repeated: capped
/// exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Ceiling of the first wait; it doubles with every attempt.
    pub base_ms: u64,
    /// Ceiling of every wait.
    pub cap_ms: u64,
    /// When to give up.
    pub attempts: Attempts,
}

/// How many calls may end without an outcome before they are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// A number for actions that can still be undone
    /// ([`SAGA_ATTEMPTS_COUNT_DEFAULT`], [`SAGA_ONGOING_COUNT_DEFAULT`]), no end for what
    /// must succeed: undos, confirms, cancels and actions after the pivot.
    ByPosition,
    /// Never.
    Unbounded,
    /// So many, at least one.
    AtMost(u32),
}

/// The retry policies of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// For every class without a policy of its own; they are counted together.
    pub otherwise: RetryPolicy,
    /// Policies of single classes; each is counted alone.
    pub classes: BTreeMap<ErrorClass, RetryPolicy>,
}

impl RetryPolicy {
    /// Waits up to 200 ms, then up to 400 ms and so on, up to 30 s.
    pub const DEFAULT: Self = Self {
        base_ms: SAGA_RETRY_BASE_MS_DEFAULT,
        cap_ms: SAGA_RETRY_CAP_MS_DEFAULT,
        attempts: Attempts::ByPosition,
    };

    /// Waits up to 1 s, then up to 2 s and so on, up to a minute.
    pub const ONGOING_DEFAULT: Self = Self {
        base_ms: SAGA_ONGOING_BASE_MS_DEFAULT,
        cap_ms: SAGA_ONGOING_CAP_MS_DEFAULT,
        attempts: Attempts::ByPosition,
    };

    /// Whether `ended` calls without an outcome are enough.
    pub(in crate::saga) fn is_exhausted(&self, ended: u32) -> bool {
        match self.attempts {
            Attempts::AtMost(most) => ended >= most,
            // Validation has replaced the first.
            Attempts::ByPosition | Attempts::Unbounded => false,
        }
    }

    /// How long to wait after the call that was the `ended`-th without an outcome.
    pub(in crate::saga) fn wait_ms(&self, ended: u32, random: u64, asked_ms: Option<u64>) -> u64 {
        let jittered = full_jitter(self.base_ms, self.cap_ms, ended, random);
        jittered.max(asked_ms.unwrap_or(0).min(self.cap_ms))
    }
}

impl Default for Retry {
    fn default() -> Self {
        let ongoing = (ErrorClass::Ongoing, RetryPolicy::ONGOING_DEFAULT);
        Self {
            otherwise: RetryPolicy::DEFAULT,
            classes: [ongoing].into(),
        }
    }
}

impl Retry {
    /// The policy of a class.
    #[must_use]
    pub fn policy(&self, class: ErrorClass) -> &RetryPolicy {
        self.classes.get(&class).unwrap_or(&self.otherwise)
    }

    /// Which classes are counted together with this one.
    pub(in crate::saga) fn counted_with(&self, class: ErrorClass, other: ErrorClass) -> bool {
        class == other || (!self.classes.contains_key(&class) && !self.classes.contains_key(&other))
    }

    /// Decides what the position decides. What need not succeed may be given up.
    pub(super) fn settle_attempts(&mut self, must_succeed: bool) {
        let settle = |policy: &mut RetryPolicy, most| {
            if policy.attempts == Attempts::ByPosition {
                policy.attempts = match must_succeed {
                    true => Attempts::Unbounded,
                    false => Attempts::AtMost(most),
                };
            }
        };
        settle(&mut self.otherwise, SAGA_ATTEMPTS_COUNT_DEFAULT);
        for (class, policy) in &mut self.classes {
            settle(
                policy,
                match class {
                    ErrorClass::Ongoing => SAGA_ONGOING_COUNT_DEFAULT,
                    ErrorClass::Unreachable
                    | ErrorClass::TimedOut
                    | ErrorClass::Overloaded
                    | ErrorClass::BadAnswer
                    | ErrorClass::Internal => SAGA_ATTEMPTS_COUNT_DEFAULT,
                },
            );
        }
    }
}
