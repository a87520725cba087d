use std::future::Future;

/// One row of the barrier's table, without its key.
pub(crate) struct BarrierRow {
    pub(crate) outcome: String,
    pub(crate) attempt: i64,
    pub(crate) output: Option<Vec<u8>>,
}

/// The key of a row.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    expect(dead_code, reason = "only databases read it")
)]
pub(crate) struct BarrierKey<'a> {
    pub(crate) saga_id: &'a str,
    pub(crate) step: &'a str,
    pub(crate) phase: &'static str,
}

/// The statements of the barrier, each in the dialect of its database.
pub(crate) trait BarrierDialect: sqlx::Database {
    /// Inserts a row unless there is one; true when it did. Waits for another transaction
    /// that has inserted the same key and has not ended.
    fn insert_barrier(
        connection: &mut Self::Connection,
        key: BarrierKey<'_>,
        row: &BarrierRow,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Reads a row that an insert has met: also when it was committed after the
    /// transaction's snapshot was taken.
    fn read_barrier(
        connection: &mut Self::Connection,
        key: BarrierKey<'_>,
    ) -> impl Future<Output = Result<Option<BarrierRow>, sqlx::Error>> + Send;

    /// Puts `row` in the place of a refusal with a smaller attempt; true when there was one.
    fn replace_refusal(
        connection: &mut Self::Connection,
        key: BarrierKey<'_>,
        row: &BarrierRow,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Writes the output into the transaction's own row; false when that is not there.
    fn write_output(
        connection: &mut Self::Connection,
        key: BarrierKey<'_>,
        output: &[u8],
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Deletes at most `rows_max` rows that are older, by the clock of the database; returns
    /// how many.
    fn collect_barrier(
        connection: &mut Self::Connection,
        older_than_ms: i64,
        rows_max: i64,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Whether the transaction lost against others (deadlock, serialisation failure, lock
    /// not had in time), so that the same may work when it is done again.
    fn is_conflict(error: &sqlx::Error) -> bool;
}

/// Implements the statements for one database. All dialects bind the same values in the
/// same order.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
macro_rules! barrier_dialect {
    ($database:ty {
        insert: $insert:expr,
        read: $read:expr,
        replace_refusal: $replace_refusal:expr,
        write_output: $write_output:expr,
        collect: $collect:expr,
        is_conflict: $is_conflict:expr,
    }) => {
        impl $crate::database::barrier::BarrierDialect for $database {
            async fn insert_barrier(
                connection: &mut Self::Connection,
                key: $crate::database::barrier::BarrierKey<'_>,
                row: &$crate::database::barrier::BarrierRow,
            ) -> Result<bool, sqlx::Error> {
                let inserted = sqlx::query($insert)
                    .bind(key.saga_id)
                    .bind(key.step)
                    .bind(key.phase)
                    .bind(&row.outcome)
                    .bind(row.attempt)
                    .bind(row.output.as_deref())
                    .execute(connection)
                    .await;
                match inserted {
                    Ok(inserted) => Ok(inserted.rows_affected() == 1),
                    // Where the dialect has no insert that leaves everything else an error.
                    Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
                    Err(error) => Err(error),
                }
            }

            async fn read_barrier(
                connection: &mut Self::Connection,
                key: $crate::database::barrier::BarrierKey<'_>,
            ) -> Result<Option<$crate::database::barrier::BarrierRow>, sqlx::Error> {
                let row: Option<(String, i64, Option<Vec<u8>>)> = sqlx::query_as($read)
                    .bind(key.saga_id)
                    .bind(key.step)
                    .bind(key.phase)
                    .fetch_optional(connection)
                    .await?;
                Ok(row.map(
                    |(outcome, attempt, output)| $crate::database::barrier::BarrierRow {
                        outcome,
                        attempt,
                        output,
                    },
                ))
            }

            async fn replace_refusal(
                connection: &mut Self::Connection,
                key: $crate::database::barrier::BarrierKey<'_>,
                row: &$crate::database::barrier::BarrierRow,
            ) -> Result<bool, sqlx::Error> {
                let replaced = sqlx::query($replace_refusal)
                    .bind(&row.outcome)
                    .bind(row.attempt)
                    .bind(row.output.as_deref())
                    .bind(key.saga_id)
                    .bind(key.step)
                    .bind(key.phase)
                    .bind(row.attempt)
                    .execute(connection)
                    .await?;
                Ok(replaced.rows_affected() == 1)
            }

            async fn write_output(
                connection: &mut Self::Connection,
                key: $crate::database::barrier::BarrierKey<'_>,
                output: &[u8],
            ) -> Result<bool, sqlx::Error> {
                let written = sqlx::query($write_output)
                    .bind(output)
                    .bind(key.saga_id)
                    .bind(key.step)
                    .bind(key.phase)
                    .execute(connection)
                    .await?;
                Ok(written.rows_affected() == 1)
            }

            async fn collect_barrier(
                connection: &mut Self::Connection,
                older_than_ms: i64,
                rows_max: i64,
            ) -> Result<u64, sqlx::Error> {
                let collected = sqlx::query($collect)
                    .bind(older_than_ms)
                    .bind(rows_max)
                    .execute(connection)
                    .await?;
                Ok(collected.rows_affected())
            }

            fn is_conflict(error: &sqlx::Error) -> bool {
                let is_conflict: fn(&sqlx::Error) -> bool = $is_conflict;
                is_conflict(error)
            }
        }
    };
}
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) use barrier_dialect;
