use std::{path::PathBuf, str::FromStr as _, time::Duration};

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use super::super::UrlError;

const KIND: &str = "SQLite";
const BUSY_TIMEOUT_MS: u64 = 200;

/// How to check against one SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(super) connect: SqliteConnectOptions,
    pub(super) file: PathBuf,
    /// The file, for messages.
    pub(super) database: String,
    /// Checks that share one write transaction. Default 256.
    pub batch_checks_max: usize,
    /// Checks that wait for their turn; further ones wait outside. Default 4,096.
    pub waiting_checks_max: usize,
}

impl SqliteOptions {
    /// The defaults for `sqlite:FILE` or `sqlite://FILE`.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let connect = SqliteConnectOptions::from_str(url).map_err(|error| UrlError::Invalid {
            kind: KIND,
            message: error.to_string(),
        })?;
        let file = connect.get_filename().to_path_buf();
        let name = file.to_string_lossy().into_owned();
        // A database in memory is shared with nobody, so it cannot hold a fence.
        if name.is_empty() || name.contains(":memory:") || name.starts_with("file:") {
            return Err(UrlError::Invalid {
                kind: KIND,
                message: format!("{url} names no file"),
            });
        }
        Ok(Self {
            connect: connect
                .create_if_missing(false)
                .read_only(false)
                .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
                // A rollback that is forgotten in a power failure would not be definite.
                .synchronous(SqliteSynchronous::Full),
            database: format!("sqlite:{name}"),
            file,
            batch_checks_max: 256,
            waiting_checks_max: 4_096,
        })
    }

    /// How long a check waits for the writer before it: 200.
    pub fn busy_timeout_ms(&self) -> u64 {
        BUSY_TIMEOUT_MS
    }
}
