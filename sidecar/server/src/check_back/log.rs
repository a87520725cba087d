//! The log store as check-back's [`TransactionLog`].

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::half_message::{State, Verdict};
use outrigger_log::{
    AuditAction, Command, IndexEntry, Log, Outcome, Refusal, Transaction, TransactionId,
};
use outrigger_proto::stored;
use prost::Message as _;
use tokio::task::spawn_blocking;

use super::{NotRecorded, TransactionLog, WaitingTransaction};
use crate::edge::with_body;

impl TransactionLog for Log {
    fn waiting(
        &self,
        after_sequence: u64,
        prepared_before_ms: u64,
        limit: usize,
    ) -> Vec<WaitingTransaction> {
        self.unresolved(after_sequence, prepared_before_ms, limit)
            .into_iter()
            .map(|found| waiting(found.sequence, &found.transaction))
            .collect()
    }

    fn find(&self, id: TransactionId) -> Option<WaitingTransaction> {
        match self.transaction(id) {
            Ok(found) => found
                .filter(|transaction| is_waiting(transaction.state))
                .map(|transaction| waiting(0, &transaction)),
            Err(error) => {
                tracing::error!(transaction = %id, %error, "cannot be looked up");
                None
            }
        }
    }

    fn messages(&self, id: TransactionId) -> BoxFuture<'_, Vec<stored::Message>> {
        async move {
            let stored = read(self.clone(), id, |_| true).await.unwrap_or_default();
            let without_body = |(_, stored): (_, Bytes)| {
                let mut message = stored::Message::decode(stored).ok()?;
                message.body = Bytes::new();
                Some(message)
            };
            stored.into_iter().filter_map(without_body).collect()
        }
        .boxed()
    }

    fn resolve(
        &self,
        id: TransactionId,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> BoxFuture<'_, Result<(), NotRecorded>> {
        async move {
            let replacements = match (verdict, payload) {
                (Verdict::Commit, Some(payload)) => {
                    let late = read(self.clone(), id, |from_fence| from_fence).await?;
                    late.into_iter()
                        .map(|(place, stored)| (place, with_body(&stored, &payload)))
                        .collect()
                }
                (Verdict::Commit | Verdict::Rollback, _) => Vec::new(),
            };
            let command = Command::Resolve {
                id,
                verdict,
                replacements,
            };
            record(self, command).await
        }
        .boxed()
    }

    /// A transaction that is decided in another data group may wait there: only its leader can
    /// tell, and forget its fence row.
    fn decides(&self, id: TransactionId) -> bool {
        self.placement().transaction(id.0) == self.data_group()
    }

    fn park(&self, id: TransactionId) -> BoxFuture<'_, Result<(), NotRecorded>> {
        record(self, Command::Park { id }).boxed()
    }
}

fn is_waiting(state: State) -> bool {
    match state {
        State::Prepared | State::Parked => true,
        State::Committed | State::RolledBack => false,
    }
}

fn waiting(sequence: u64, transaction: &Transaction) -> WaitingTransaction {
    let resumed_at_ms = transaction
        .audit
        .iter()
        .filter(|entry| entry.action == AuditAction::Resumed)
        .map(|entry| entry.at_ms)
        .max();
    WaitingTransaction {
        sequence,
        id: transaction.id,
        producer_group: transaction.producer_group.clone(),
        prepared_at_ms: transaction.prepared_at_ms,
        waiting_since_ms: resumed_at_ms.unwrap_or(transaction.prepared_at_ms),
        parked: transaction.state == State::Parked,
    }
}

/// The stored bytes of a transaction's messages with their places, those that `wanted`
/// says of whether their body comes from the fence. Older ones are read from the disk.
async fn read(
    log: Log,
    id: TransactionId,
    wanted: fn(bool) -> bool,
) -> Result<Vec<(u32, Bytes)>, NotRecorded> {
    let later = |error: &dyn std::error::Error| NotRecorded::Later(error.to_string());
    let reading = spawn_blocking(move || {
        // The log itself tells what is wrong with a transaction that is not there.
        let found = log.transaction(id).map_err(|error| later(&error))?;
        let messages = found.map(|found| found.messages).unwrap_or_default();
        let entries: Vec<IndexEntry> = messages
            .into_iter()
            .filter(|message| wanted(message.from_fence))
            .map(|message| message.stored)
            .collect();
        let stored = log.read(&entries).map_err(|error| later(&error))?;
        let place = |entry: &IndexEntry| u32::try_from(entry.offset).unwrap_or(u32::MAX);
        Ok(entries.iter().map(place).zip(stored).collect())
    });
    reading.await.unwrap_or_else(|error| Err(later(&error)))
}

async fn record(log: &Log, command: Command) -> Result<(), NotRecorded> {
    let later = |error: outrigger_log::SubmitError| NotRecorded::Later(error.to_string());
    let answers = log.submit(vec![command]).map_err(later)?;
    match answers.await.map_err(later)?.pop() {
        Some(Outcome::Refused(refusal)) => Err(not_recorded(&refusal)),
        Some(_) => Ok(()),
        None => Err(NotRecorded::Later("the log gave no answer".to_owned())),
    }
}

fn not_recorded(refusal: &Refusal) -> NotRecorded {
    let why = refusal.to_string();
    match refusal {
        Refusal::TransactionNotFound(_) | Refusal::TransactionResolved { .. } => {
            NotRecorded::Settled(why)
        }
        Refusal::TransactionContradiction { .. } => NotRecorded::Contradiction(why),
        Refusal::PayloadMissing { .. } => NotRecorded::PayloadMissing(why),
        _ => NotRecorded::Later(why),
    }
}
