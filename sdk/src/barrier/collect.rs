use std::time::Duration;

use super::{Barrier, CollectError, RETENTION_MARGIN};
use crate::database::LocalDatabase;

/// Rows that one transaction deletes at most, so that nobody waits for it.
const COLLECT_BATCH_ROWS_MAX: u32 = 1_000;

impl<DB: LocalDatabase> Barrier<DB> {
    /// Deletes rows that are older than `retention` by the clock of the database, in batches
    /// of their own; returns how many. Call it from time to time, such as once an hour.
    ///
    /// # Errors
    ///
    /// A retention shorter than the [longest saga](Barrier::longest_saga) and
    /// [`RETENTION_MARGIN`] is refused: a row that is missing too early lets a
    /// repeated call through, and makes an undo believe that there is nothing to undo.
    pub async fn collect(&self, retention: Duration) -> Result<u64, CollectError> {
        let least = self.longest_saga.saturating_add(RETENTION_MARGIN);
        if retention < least {
            return Err(CollectError::RetentionTooShort { retention, least });
        }
        let older_than_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX / 1_000_000);
        let mut collected = 0;
        loop {
            let mut connection = self.pool.acquire().await?;
            let batch = DB::collect_barrier(
                &mut connection,
                older_than_ms,
                i64::from(COLLECT_BATCH_ROWS_MAX),
            )
            .await?;
            collected += batch;
            if batch < u64::from(COLLECT_BATCH_ROWS_MAX) {
                return Ok(collected);
            }
        }
    }
}
