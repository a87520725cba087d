use std::collections::BTreeSet;

use crate::breaker::Breaker;

/// What fails together, such as a database.
#[derive(Debug)]
pub(super) struct Target {
    /// (when, transaction) of the next checks.
    pub(super) due: BTreeSet<(u64, u128)>,
    pub(super) checking: usize,
    pub(super) tracked: usize,
    pub(super) breaker: Breaker,
}

impl Target {
    pub(super) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            checking: 0,
            tracked: 0,
            breaker: Breaker::default(),
        }
    }

    /// Takes the next transaction to check now, if there is one and it may be checked.
    pub(super) fn start(&mut self, now_ms: u64, parallel_max: usize) -> Option<u128> {
        let (due_ms, id) = self.due.first().copied()?;
        if self.checking >= parallel_max || due_ms > now_ms || !self.breaker.admit(now_ms, id) {
            return None;
        }
        self.due.pop_first();
        self.checking += 1;
        Some(id)
    }

    /// When [`Self::start`] will have one, unless an answer comes first.
    pub(super) fn starts_at_ms(&self, parallel_max: usize) -> Option<u64> {
        let (due_ms, _) = self.due.first()?;
        if self.checking >= parallel_max {
            return None;
        }
        Some(self.breaker.passes_at_ms()?.max(*due_ms))
    }
}
