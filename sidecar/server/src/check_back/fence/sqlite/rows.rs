//! Old rows in SQLite.

use futures::future::{BoxFuture, FutureExt as _};
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

use super::{
    super::{super::Undecided, FenceRows, FenceStore, OldRows},
    batch::json,
    failure,
    options::SqliteOptions,
};

// The same expression as the column's default. The plus signs keep the deletion on the primary
// key: the index on ages would lead it through every old row, with the database locked.
const NEXT: &str = "SELECT created_at, id FROM outrigger_transaction WHERE producer_group = ?1 \
     AND created_at < CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) - ?2 \
     AND (created_at, id) > (?3, ?4) ORDER BY created_at, id LIMIT ?5";
const DELETE: &str = "DELETE FROM outrigger_transaction WHERE +producer_group = ?1 \
     AND +created_at < CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) - ?2 \
     AND id IN (SELECT value FROM json_each(?3))";

/// An open database file.
struct Rows {
    connection: SqliteConnection,
    options: SqliteOptions,
    /// The last row that was told: when it was made, and its id.
    told: (i64, String),
}

impl FenceStore for SqliteOptions {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn FenceRows>, Undecided>> {
        async move {
            let connection = SqliteConnection::connect_with(&self.connect)
                .await
                .map_err(|error| failure::on_connect(self, &error))?;
            let rows = Rows {
                connection,
                options: self.clone(),
                told: (i64::MIN, String::new()),
            };
            Ok(Box::new(rows) as Box<dyn FenceRows>)
        }
        .boxed()
    }
}

impl FenceRows for Rows {
    fn next<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Uuid>>, Undecided>> {
        async move {
            let found: Vec<(i64, String)> = sqlx::query_as(NEXT)
                .bind(rows.producer_group)
                .bind(age_ms(rows))
                .bind(self.told.0)
                .bind(&self.told.1)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut self.connection)
                .await
                .map_err(|error| failure::on_statement(&self.options, &error))?;
            let Some(last) = found.last() else {
                return Ok(None);
            };
            self.told = last.clone();
            // Whatever is not a transaction's id is not a row of the fence.
            let ids = found.iter().filter_map(|(_, id)| id.parse().ok());
            Ok(Some(ids.collect()))
        }
        .boxed()
    }

    fn delete<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<u64, Undecided>> {
        async move {
            let deleted = sqlx::query(DELETE)
                .bind(rows.producer_group)
                .bind(age_ms(rows))
                .bind(json(&texts(ids)))
                .execute(&mut self.connection)
                .await
                .map_err(|error| failure::on_statement(&self.options, &error))?;
            Ok(deleted.rows_affected())
        }
        .boxed()
    }
}

fn age_ms(rows: OldRows<'_>) -> i64 {
    i64::try_from(rows.age_ms_min).unwrap_or(i64::MAX)
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(|id| id.hyphenated().to_string()).collect()
}
