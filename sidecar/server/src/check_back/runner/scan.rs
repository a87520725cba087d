use super::super::{TransactionLog, WaitingTransaction};

/// Finds the transactions that the scheduler does not know yet.
///
/// One cursor follows the log: it sees every transaction once, as soon as it is old enough
/// to be asked about. The other one goes round all of them, a page at a time, for those
/// that come back: resumed ones, and those that there was no room for.
pub(super) struct Scan {
    page_max: usize,
    followed_to: u64,
    patrolled_to: u64,
}

impl Scan {
    pub(super) fn new(page_max: usize) -> Self {
        Self {
            page_max: page_max.max(1),
            followed_to: 0,
            patrolled_to: 0,
        }
    }

    /// The next page of new ones; whether there may be more at once.
    pub(super) fn follow(
        &mut self,
        log: &impl TransactionLog,
        prepared_before_ms: u64,
    ) -> (Vec<WaitingTransaction>, bool) {
        let page = log.waiting(self.followed_to, prepared_before_ms, self.page_max);
        let full = page.len() >= self.page_max;
        if let Some(last) = page.last() {
            self.followed_to = last.sequence;
        }
        (page, full)
    }

    /// The next page of all.
    pub(super) fn patrol(
        &mut self,
        log: &impl TransactionLog,
        prepared_before_ms: u64,
    ) -> Vec<WaitingTransaction> {
        let page = log.waiting(self.patrolled_to, prepared_before_ms, self.page_max);
        self.patrolled_to = match page.last() {
            Some(last) if page.len() >= self.page_max => last.sequence,
            // Round again from the oldest.
            Some(_) | None => 0,
        };
        page
    }
}
