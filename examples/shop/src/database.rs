//! The few things the shop does with a database, on SQLite and on PostgreSQL alike.

use std::{future::Future, str::FromStr as _, time::Duration};

use outrigger_sdk::{LocalDatabase, migrations};
use sqlx::{
    PgConnection, PgPool, Pool, Postgres, Row as _, Sqlite, SqliteConnection,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

const POSTGRES_CONNECTIONS_MAX: u32 = 16;
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// A value in a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

/// A database that a service can live on. Statements use `$1`, which both understand.
pub(crate) trait ShopDatabase: LocalDatabase {
    fn connect(url: &str) -> impl Future<Output = anyhow::Result<Pool<Self>>> + Send;

    /// Creates the tables of the fence and the inbox.
    fn migrate(pool: &Pool<Self>) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Runs a statement; returns how many rows it changed.
    fn execute(
        connection: &mut Self::Connection,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// The number in the first row, when there is one.
    fn number(
        pool: &Pool<Self>,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Rows of a text and a number.
    fn pairs(
        pool: &Pool<Self>,
        sql: &'static str,
    ) -> impl Future<Output = Result<Vec<(String, i64)>, sqlx::Error>> + Send;
}

/// sqlx has a trait for each part of a statement; with a concrete database none of them has
/// to be named.
macro_rules! statements {
    ($connection:ty) => {
        async fn execute(
            connection: &mut $connection,
            sql: &'static str,
            values: &[Value<'_>],
        ) -> Result<u64, sqlx::Error> {
            let mut query = sqlx::query(sql);
            for value in values {
                query = match value {
                    Value::Number(number) => query.bind(*number),
                    Value::Text(text) => query.bind((*text).to_owned()),
                };
            }
            Ok(query.execute(connection).await?.rows_affected())
        }

        async fn number(
            pool: &Pool<Self>,
            sql: &'static str,
            values: &[Value<'_>],
        ) -> Result<Option<i64>, sqlx::Error> {
            let mut query = sqlx::query(sql);
            for value in values {
                query = match value {
                    Value::Number(number) => query.bind(*number),
                    Value::Text(text) => query.bind((*text).to_owned()),
                };
            }
            let row = query.fetch_optional(pool).await?;
            row.map(|row| row.try_get(0)).transpose()
        }

        async fn pairs(
            pool: &Pool<Self>,
            sql: &'static str,
        ) -> Result<Vec<(String, i64)>, sqlx::Error> {
            let rows = sqlx::query(sql).fetch_all(pool).await?;
            rows.into_iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect()
        }
    };
}

impl ShopDatabase for Sqlite {
    async fn connect(url: &str) -> anyhow::Result<Pool<Self>> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Loses nothing when a process is killed: what was written is with the operating
            // system. Only a power failure could take back the last commits.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS));
        // SQLite has one writer at a time. Waiting for the connection is fairer and quicker
        // than waiting for SQLite's lock.
        Ok(SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?)
    }

    async fn migrate(pool: &Pool<Self>) -> anyhow::Result<()> {
        Ok(migrations::sqlite().run(pool).await?)
    }

    statements!(SqliteConnection);
}

impl ShopDatabase for Postgres {
    async fn connect(url: &str) -> anyhow::Result<PgPool> {
        Ok(PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .connect(url)
            .await?)
    }

    async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
        Ok(migrations::postgres().run(pool).await?)
    }

    statements!(PgConnection);
}

/// Whether the URL is one of SQLite.
pub(crate) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}
