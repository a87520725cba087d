//! Old rows in PostgreSQL.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use uuid::Uuid;

use super::{
    super::{super::Undecided, FenceRows, FenceStore, OldRows},
    options::PostgresOptions,
    session::Session,
};

const OLDEST: &str = "SELECT id FROM outrigger_transaction \
                      WHERE producer_group = $1 \
                      AND created_at < now() - $2::bigint * interval '1 millisecond' \
                      AND id <> ALL ($3) ORDER BY created_at LIMIT $4";
const DELETE: &str = "DELETE FROM outrigger_transaction \
                      WHERE producer_group = $1 \
                      AND created_at < now() - $2::bigint * interval '1 millisecond' \
                      AND id = ANY ($3)";

impl FenceStore for PostgresOptions {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn FenceRows>, Undecided>> {
        async move {
            let lock_timeout_ms = self.lock_timeout_ms;
            let session = Session::connect(Arc::new(self.clone()), lock_timeout_ms).await?;
            Ok(Box::new(session) as Box<dyn FenceRows>)
        }
        .boxed()
    }
}

impl FenceRows for Session {
    fn oldest<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        except: &'a [Uuid],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Uuid>, Undecided>> {
        async move {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = self
                .client()
                .query(
                    OLDEST,
                    &[&rows.producer_group, &age_ms(rows), &except, &limit],
                )
                .await
                .map_err(|error| self.failure(&error))?;
            found
                .iter()
                .map(|row| row.try_get(0).map_err(|error| self.failure(&error)))
                .collect()
        }
        .boxed()
    }

    fn delete<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<u64, Undecided>> {
        async move {
            self.client()
                .execute(DELETE, &[&rows.producer_group, &age_ms(rows), &ids])
                .await
                .map_err(|error| self.failure(&error))
        }
        .boxed()
    }
}

/// An age that leads out of PostgreSQL's calendar would be an error.
fn age_ms(rows: OldRows<'_>) -> i64 {
    const YEARS_100_MS: u64 = 100 * 365 * 86_400_000;
    i64::try_from(rows.age_ms_min.min(YEARS_100_MS)).unwrap_or(i64::MAX)
}
