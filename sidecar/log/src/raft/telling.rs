//! Telling a leader what this node has received, as long as it asks for that.

use std::future::pending;

use tokio::sync::watch;

use super::receipts::Receipts;
use super::types::LogId;

/// One for each stream of entries from another node.
pub(super) struct Telling {
    own: watch::Receiver<Option<LogId>>,
    asked: watch::Receiver<u64>,
    /// One after the last entry that was told.
    told: u64,
}

impl Telling {
    /// `asked` is one after the last entry that the leader wants to hear of.
    pub(super) fn new(receipts: &Receipts, asked: watch::Receiver<u64>) -> Self {
        Self {
            own: receipts.own(),
            asked,
            told: 0,
        }
    }

    /// Waits for something to tell: this node has received everything up to there. Nothing is
    /// lost when it is dropped before.
    pub(super) async fn next(&mut self) -> LogId {
        loop {
            let own = *self.own.borrow_and_update();
            let asked = *self.asked.borrow_and_update();
            let received = own.map_or(0, |last| last.index + 1);
            // Less than before is what a truncation leaves.
            self.told = self.told.min(received);
            if let Some(last) = own
                && self.told < received.min(asked)
            {
                self.told = received;
                return last;
            }
            let changed = tokio::select! {
                changed = self.own.changed() => changed,
                changed = self.asked.changed() => changed,
            };
            if changed.is_err() {
                pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new_term_index(term, index)
    }

    fn told(telling: &mut Telling) -> Option<LogId> {
        telling.next().now_or_never()
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_told_and_once() {
        let receipts = Receipts::new(Some(id(1, 4)));
        let (ask, asked) = watch::channel(0);
        let mut telling = Telling::new(&receipts, asked);
        assert_eq!(told(&mut telling), None);
        ask.send_replace(6);
        assert_eq!(told(&mut telling), Some(id(1, 4)));
        assert_eq!(told(&mut telling), None);
        receipts.appended_for_test(id(2, 5));
        assert_eq!(told(&mut telling), Some(id(2, 5)));
        receipts.appended_for_test(id(2, 6));
        assert_eq!(told(&mut telling), None, "nobody asked for it");
        ask.send_replace(7);
        assert_eq!(told(&mut telling), Some(id(2, 6)));
    }

    #[tokio::test]
    async fn after_a_truncation_new_entries_are_told_again() {
        let receipts = Receipts::new(Some(id(1, 9)));
        let (_ask, asked) = watch::channel(100);
        let mut telling = Telling::new(&receipts, asked);
        assert_eq!(told(&mut telling), Some(id(1, 9)));
        receipts.truncated(Some(id(1, 4)));
        assert_eq!(told(&mut telling), None);
        receipts.appended_for_test(id(3, 5));
        assert_eq!(told(&mut telling), Some(id(3, 5)));
    }
}
