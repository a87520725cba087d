use super::short;
use crate::{
    limits::{
        SAGA_DELIVERY_ATTEMPTS_COUNT_MAX, SAGA_RETRY_BASE_MS_DEFAULT, SAGA_RETRY_CAP_MS_DEFAULT,
    },
    retry::full_jitter,
    saga::event::Event,
};

/// How far the delivery of the result is, as far as this owner tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    attempts: u32,
    under_way: bool,
    kept_back: bool,
    /// Why the last attempt failed, and when the next one may begin.
    failed: Option<(String, u64)>,
    delivered: bool,
}

impl Delivery {
    /// The number of an attempt that begins now, if one may.
    pub(super) fn next_attempt(&mut self, now_ms: u64) -> Option<u32> {
        let due = self
            .failed
            .as_ref()
            .is_none_or(|(_, at_ms)| *at_ms <= now_ms);
        if !due || self.under_way || self.kept_back || self.delivered {
            return None;
        }
        self.under_way = true;
        self.attempts += 1;
        Some(self.attempts)
    }

    pub(super) fn ended(&mut self, now_ms: u64, random: u64, delivered: Result<(), String>) {
        self.under_way = false;
        match delivered {
            Ok(()) => self.delivered = true,
            Err(message) => {
                let (base_ms, cap_ms) = (SAGA_RETRY_BASE_MS_DEFAULT, SAGA_RETRY_CAP_MS_DEFAULT);
                let wait_ms = full_jitter(base_ms, cap_ms, self.attempts, random);
                self.failed = Some((short(message), now_ms.saturating_add(wait_ms)));
            }
        }
    }

    /// The attempt was not made.
    pub(super) fn keep_back(&mut self) {
        if self.under_way {
            self.under_way = false;
            self.kept_back = true;
            self.attempts = self.attempts.saturating_sub(1);
        }
    }

    pub(super) fn let_through(&mut self) {
        self.kept_back = false;
    }

    /// Nobody has tried anything that the next owner would not try again.
    pub(super) fn is_quiet(&self) -> bool {
        !self.under_way && self.failed.is_none() && !self.delivered
    }

    /// When the next attempt may begin.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let waits = !self.under_way && !self.kept_back;
        let failed = self.failed.as_ref().filter(|_| waits);
        failed.map(|(_, at_ms)| *at_ms)
    }

    /// What is to be recorded: that it has arrived, or that it was tried often enough.
    pub(super) fn event(&self) -> Option<Event> {
        if self.delivered {
            return Some(Event::ResultDelivered);
        }
        let exhausted = self.attempts >= SAGA_DELIVERY_ATTEMPTS_COUNT_MAX && !self.under_way;
        let (message, _) = self.failed.as_ref().filter(|_| exhausted)?;
        let message = message.clone();
        Some(Event::ResultGivenUp { message })
    }
}
