//! Old rows in PostgreSQL.

use std::{sync::Arc, time::SystemTime};

use futures::future::{BoxFuture, FutureExt as _};
use uuid::Uuid;

use super::{
    super::{super::Undecided, FenceRows, FenceStore, OldRows},
    options::PostgresOptions,
    session::Session,
};

const NEXT: &str = "SELECT id, created_at FROM outrigger_transaction \
                    WHERE producer_group = $1 \
                    AND created_at < now() - $2::bigint * interval '1 millisecond' \
                    AND (created_at, id) > (coalesce($3::timestamptz, '-infinity'), $4) \
                    ORDER BY created_at, id LIMIT $5";
const DELETE: &str = "DELETE FROM outrigger_transaction \
                      WHERE producer_group = $1 \
                      AND created_at < now() - $2::bigint * interval '1 millisecond' \
                      AND id = ANY ($3)";

/// A connection for this alone.
struct Rows {
    session: Session,
    /// The last row that was told: when it was made, and its id.
    told: (Option<SystemTime>, Uuid),
}

impl FenceStore for PostgresOptions {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn FenceRows>, Undecided>> {
        async move {
            let lock_timeout_ms = self.lock_timeout_ms;
            let session = Session::connect(Arc::new(self.clone()), lock_timeout_ms).await?;
            let rows = Rows {
                session,
                told: (None, Uuid::nil()),
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
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let (group, (made_at, id)) = (rows.producer_group, self.told);
            let failed = |error| self.session.failure(&error);
            let found = self
                .session
                .client()
                .query(NEXT, &[&group, &age_ms(rows), &made_at, &id, &limit])
                .await
                .map_err(failed)?;
            let Some(last) = found.last() else {
                return Ok(None);
            };
            let made_at: SystemTime = last.try_get(1).map_err(failed)?;
            let ids = found.iter().map(|row| row.try_get(0));
            let ids: Vec<Uuid> = ids.collect::<Result<_, _>>().map_err(failed)?;
            self.told = (Some(made_at), ids.last().copied().unwrap_or_default());
            Ok(Some(ids))
        }
        .boxed()
    }

    fn delete<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<u64, Undecided>> {
        async move {
            self.session
                .client()
                .execute(DELETE, &[&rows.producer_group, &age_ms(rows), &ids])
                .await
                .map_err(|error| self.session.failure(&error))
        }
        .boxed()
    }
}

/// An age that leads out of PostgreSQL's calendar would be an error.
fn age_ms(rows: OldRows<'_>) -> i64 {
    const YEARS_100_MS: u64 = 100 * 365 * 86_400_000;
    i64::try_from(rows.age_ms_min.min(YEARS_100_MS)).unwrap_or(i64::MAX)
}
