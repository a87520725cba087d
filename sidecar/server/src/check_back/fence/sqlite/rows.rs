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
const OLDEST: &str = "SELECT id FROM outrigger_transaction WHERE producer_group = ?1 \
     AND created_at < CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) - ?2 \
     AND id NOT IN (SELECT value FROM json_each(?3)) ORDER BY created_at LIMIT ?4";
const DELETE: &str = "DELETE FROM outrigger_transaction WHERE +producer_group = ?1 \
     AND +created_at < CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) - ?2 \
     AND id IN (SELECT value FROM json_each(?3))";

/// An open database file.
struct Rows {
    connection: SqliteConnection,
    options: SqliteOptions,
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
            };
            Ok(Box::new(rows) as Box<dyn FenceRows>)
        }
        .boxed()
    }
}

impl FenceRows for Rows {
    fn oldest<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        except: &'a [Uuid],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Uuid>, Undecided>> {
        async move {
            let found: Vec<String> = sqlx::query_scalar(OLDEST)
                .bind(rows.producer_group)
                .bind(age_ms(rows))
                .bind(json(&texts(except)))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&mut self.connection)
                .await
                .map_err(|error| failure::on_statement(&self.options, &error))?;
            // Whatever is not a transaction's id is not a row of the fence.
            Ok(found.iter().filter_map(|id| id.parse().ok()).collect())
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
