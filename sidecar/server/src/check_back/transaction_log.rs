use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::half_message::Verdict;
use outrigger_log::TransactionId;
use outrigger_proto::stored;
use tokio::task::spawn_blocking;

/// The log, as far as check-back needs it.
pub trait TransactionLog: Send + Sync + 'static {
    /// Transactions that wait for their verdict, parked ones included, in the order of
    /// preparation.
    fn waiting(
        &self,
        after_sequence: u64,
        prepared_before_ms: u64,
        limit: usize,
    ) -> Vec<WaitingTransaction>;

    /// One of them; `None` when it has its verdict or does not exist.
    fn find(&self, id: TransactionId) -> Option<WaitingTransaction>;

    /// Whether this log can tell about a transaction at all. Of one that another log decides,
    /// nothing is known here.
    fn decides(&self, _id: TransactionId) -> bool {
        true
    }

    /// Its messages without their bodies.
    fn messages(&self, id: TransactionId) -> BoxFuture<'_, Vec<stored::Message>>;

    /// Records the verdict durably; `payload` is the body of the messages that take theirs
    /// from the fence.
    fn resolve(
        &self,
        id: TransactionId,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>>;

    /// Sets it aside for a person, durably.
    fn park(&self, id: TransactionId) -> BoxFuture<'_, Result<(), NotRecorded>>;

    /// When the oldest waiting transaction of each producer group was prepared, parked ones
    /// included; `None` when the log cannot tell now. May read from the disk.
    fn oldest_waiting(self: Arc<Self>, page_max: usize) -> BoxFuture<'static, Option<Oldest>>
    where
        Self: Sized,
    {
        let looking = move || {
            let mut oldest = Oldest::new();
            let mut after = 0;
            loop {
                let page = self.waiting(after, u64::MAX, page_max);
                for transaction in &page {
                    after = transaction.sequence;
                    oldest
                        .entry(Arc::clone(&transaction.producer_group))
                        .or_insert(transaction.prepared_at_ms);
                }
                if page.len() < page_max {
                    return oldest;
                }
            }
        };
        async { done(spawn_blocking(looking).await) }.boxed()
    }

    /// Those that wait for their verdict, of transactions that this log decides; `None` when
    /// it cannot tell now. May read from the disk.
    fn waiting_among(
        self: Arc<Self>,
        ids: Vec<TransactionId>,
    ) -> BoxFuture<'static, Option<BTreeSet<TransactionId>>>
    where
        Self: Sized,
    {
        let looking = move || {
            ids.into_iter()
                .filter(|id| self.find(*id).is_some())
                .collect()
        };
        async { done(spawn_blocking(looking).await) }.boxed()
    }
}

/// When the oldest waiting transaction of each producer group was prepared.
pub type Oldest = BTreeMap<Arc<str>, u64>;

fn done<T>(looked: Result<T, tokio::task::JoinError>) -> Option<T> {
    looked
        .inspect_err(|error| tracing::error!(%error, "the log could not be looked through"))
        .ok()
}

/// A transaction without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTransaction {
    /// Its place in the order of preparation, from 1.
    pub sequence: u64,
    /// The client's id.
    pub id: TransactionId,
    /// Who can say how it ended.
    pub producer_group: Arc<str>,
    /// When it was prepared.
    pub prepared_at_ms: u64,
    /// When it was prepared, or resumed for the last time.
    pub waiting_since_ms: u64,
    /// It waits for a person.
    pub parked: bool,
}

/// Why the log did not record what check-back found out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// It has a verdict already, or has been forgotten; nothing is left to do.
    #[error("already settled: {0}")]
    Settled(String),
    /// It has the opposite verdict: somebody resolved it against its local transaction.
    #[error("resolved against its local transaction: {0}")]
    Contradiction(String),
    /// It committed, but a message's body should have come from the fence and did not.
    #[error("{0}")]
    PayloadMissing(String),
    /// The log cannot take it now.
    #[error("{0}")]
    Later(String),
}
