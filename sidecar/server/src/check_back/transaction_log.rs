use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_core::half_message::Verdict;
use outrigger_log::TransactionId;
use outrigger_proto::stored;

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
