use std::sync::Arc;

use futures::future::BoxFuture;
use uuid::Uuid;

use super::{super::Undecided, PostgresOptions, SqliteOptions, UrlError};

/// Which rows may be old enough to delete. Ages are by the database's own clock, which
/// also dated the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldRows<'a> {
    /// Only rows of this group.
    pub producer_group: &'a str,
    /// Only rows that were made longer ago than this.
    pub age_ms_min: u64,
}

/// A database whose fence rows can be deleted when they are old.
pub trait FenceStore: Send + Sync + 'static {
    /// A connection for this alone, so that no check waits behind it; only to a database
    /// that accepts writes.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn FenceRows>, Undecided>>;
}

/// The fence rows of one database, over one connection.
pub trait FenceRows: Send {
    /// The ids of the oldest ones that this connection has not told yet, at most `limit`;
    /// `None` when there are no more.
    fn next<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Uuid>>, Undecided>>;

    /// Deletes those with these ids that are still old; tells how many were.
    fn delete<'a>(
        &'a mut self,
        rows: OldRows<'a>,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<u64, Undecided>>;
}

/// The fence rows behind a database URL; see [`for_url`](super::for_url).
///
/// Nothing is connected before [`FenceStore::open`].
///
/// # Errors
///
/// When the URL is not usable.
pub fn store_for_url(url: &str) -> Result<Arc<dyn FenceStore>, UrlError> {
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        "postgres" | "postgresql" => Ok(Arc::new(PostgresOptions::new(url)?)),
        "sqlite" => Ok(Arc::new(SqliteOptions::new(url)?)),
        scheme => Err(UrlError::Scheme {
            scheme: scheme.to_owned(),
        }),
    }
}
