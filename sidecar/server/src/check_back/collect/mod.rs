//! Deletes fence rows that nobody can ask about any more, so that the application's table
//! does not grow for ever.
//!
//! A row that is missing reads as "never committed": the next check of its transaction
//! would decide on rollback, against a local transaction that may have committed. So a row
//! is deleted only when all of this holds:
//!
//! - It is of a producer group that this sidecar checks against this database.
//! - It is older than the retention: the time in which a local transaction may begin after
//!   its Prepare. The log remembers verdicts for longer than that, so a repeated Prepare
//!   meets its verdict for as long as the row is sure to be there; were it taken for a new
//!   one, the row would commit it a second time. Ages are measured by the database's clock,
//!   so a sidecar whose clock is wrong deletes nothing early.
//! - It is older, by a margin, than the oldest transaction of its group that waits for its
//!   verdict, parked ones included. This keeps whole stretches of rows out of the search.
//! - The log does not wait for a verdict of this very transaction. This holds whatever any
//!   clock has done since the row was made. Rows of transactions that another data group
//!   decides are left to the collector there.
//!
//! The log in question is this sidecar's. Where several sidecars with logs of their own
//! check the same producer group against the same database, none of them knows what the
//! others wait for. So a check does not ask the fence about a transaction that is about as
//! old as the retention: it is left to a person.
//!
//! It works on a connection of its own, in small batches with pauses, and gives up for this
//! round at the first error.

mod options;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use metrics::counter;
use outrigger_log::TransactionId;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Error, Mode, Oldest, Options, TransactionLog, Undecided,
    fence::{self, FenceRows, FenceStore, OldRows},
};
use crate::clock::now_ms;
pub use options::CollectOptions;

/// Deletes old rows of all producer groups with a fence, again and again.
pub struct Collector<L> {
    log: Arc<L>,
    options: CollectOptions,
    groups: Vec<(String, Arc<dyn FenceStore>)>,
}

impl<L: TransactionLog> Collector<L> {
    /// For the producer groups that are named in the options.
    ///
    /// # Errors
    ///
    /// When the database of a group cannot be used.
    pub fn new(log: Arc<L>, options: &Options) -> Result<Self, Error> {
        let mut groups = Vec::new();
        for (name, group) in &options.groups {
            if let Mode::Table { database } = &group.mode {
                let store = fence::store_for_url(database).map_err(|source| Error::Database {
                    producer_group: name.clone(),
                    source,
                })?;
                groups.push((name.clone(), store));
            }
        }
        Ok(Self {
            log,
            options: options.collect.clone(),
            groups,
        })
    }

    /// Replaces the databases: these groups, and where their rows are.
    #[must_use]
    pub fn over(mut self, groups: Vec<(String, Arc<dyn FenceStore>)>) -> Self {
        self.groups = groups;
        self
    }

    /// Ends only when there is nothing to do ever.
    pub async fn run(self) {
        while !self.groups.is_empty() {
            sleep(Duration::from_millis(self.options.interval_ms)).await;
            self.round().await;
        }
    }

    /// Deletes what is old by now; tells how many rows.
    pub async fn round(&self) -> u64 {
        let Some(oldest) = self.oldest_waiting().await else {
            return 0;
        };
        let mut deleted = 0;
        for (group, store) in &self.groups {
            let rows = OldRows {
                producer_group: group,
                age_ms_min: self.age_ms_min(oldest.get(group.as_str()).copied()),
            };
            let mut of_group = 0;
            if let Err(error) = self.collect(&**store, rows, &mut of_group).await {
                tracing::warn!(
                    producer_group = group,
                    %error,
                    retry_ms = self.options.interval_ms,
                    "old fence rows could not be deleted"
                );
            }
            if of_group > 0 {
                tracing::info!(
                    producer_group = group,
                    rows = of_group,
                    "old fence rows deleted"
                );
            }
            deleted += of_group;
        }
        deleted
    }

    /// Ages instead of instants: the database's clock and the log's need not agree.
    fn age_ms_min(&self, oldest_prepared_at_ms: Option<u64>) -> u64 {
        let waiting_ms = oldest_prepared_at_ms.map_or(0, |at_ms| {
            let age_ms = now_ms().saturating_sub(at_ms);
            age_ms.saturating_add(self.options.margin_ms)
        });
        self.options.retention_ms.max(waiting_ms)
    }

    async fn collect(
        &self,
        store: &dyn FenceStore,
        rows: OldRows<'_>,
        deleted: &mut u64,
    ) -> Result<(), Undecided> {
        let batch_max = self.options.batch_rows_max.max(1);
        let mut connection = self.limited(rows, store.open()).await?;
        let mut kept = 0;
        while let Some(mut found) = self.limited(rows, connection.next(rows, batch_max)).await? {
            // Those of other data groups are stepped over, however many there are.
            found.retain(|id| self.log.decides(TransactionId(id.as_u128())));
            let Some(waiting) = self.waiting_among(&found).await else {
                break;
            };
            kept += waiting.len();
            found.retain(|id| !waiting.contains(id));
            let gone = self.delete(&mut *connection, rows, &found).await?;
            *deleted += gone;
            let others_delete_them = gone == 0 && !found.is_empty();
            // More rows that look too old than this are a matter of a wrong clock.
            if kept >= batch_max || others_delete_them {
                break;
            }
            sleep(Duration::from_millis(self.options.batch_pause_ms)).await;
        }
        Ok(())
    }

    async fn delete(
        &self,
        connection: &mut dyn FenceRows,
        rows: OldRows<'_>,
        ids: &[Uuid],
    ) -> Result<u64, Undecided> {
        if ids.is_empty() {
            return Ok(0);
        }
        let deleted = self.limited(rows, connection.delete(rows, ids)).await?;
        counter!("outrigger_fence_rows_deleted_total").increment(deleted);
        Ok(deleted)
    }

    /// A network that swallows packets sends no error.
    async fn limited<T>(
        &self,
        rows: OldRows<'_>,
        step: impl Future<Output = Result<T, Undecided>>,
    ) -> Result<T, Undecided> {
        let limit_ms = self.options.step_timeout_ms;
        timeout(Duration::from_millis(limit_ms), step)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Undecided::TimedOut {
                    target: format!("the database of {}", rows.producer_group),
                    limit_ms,
                })
            })
    }

    /// When the oldest waiting transaction of each group was prepared. Without the log's
    /// answer nothing is deleted.
    async fn oldest_waiting(&self) -> Option<Oldest> {
        let page_max = self.options.page_transactions_max.max(1);
        Arc::clone(&self.log).oldest_waiting(page_max).await
    }

    /// Those that wait for their verdict. Without the log's answer nothing is deleted.
    async fn waiting_among(&self, ids: &[Uuid]) -> Option<BTreeSet<Uuid>> {
        let ids = ids.iter().map(|id| TransactionId(id.as_u128())).collect();
        let waiting = Arc::clone(&self.log).waiting_among(ids).await?;
        Some(
            waiting
                .into_iter()
                .map(|id| Uuid::from_u128(id.0))
                .collect(),
        )
    }
}
