//! Private servers for tests: PostgreSQL, MariaDB and Redis on free ports, in a temporary
//! directory, gone when the test process is gone.
//!
//! A test asks for a database ([`fresh_database`], [`fresh_mysql_database`]) or a key prefix
//! ([`fresh_prefix`]) of its own and shares the server with everybody else. The server is the
//! one named by [`POSTGRES_URL_ENV`], [`MYSQL_URL_ENV`] or [`REDIS_URL_ENV`], which `tests/run`
//! sets; without them one server per test process is started on first use.

mod error;
mod mysql;
mod port;
mod postgres;
mod redis;
mod supervised;
mod unprivileged;

use std::sync::OnceLock;

use sqlx::{Connection as _, MySqlConnection};

pub use error::Error;
pub use mysql::MySql;
pub use postgres::{Durability, Postgres};
pub use redis::Redis;

/// Names a running PostgreSQL: the URL of a superuser's maintenance database.
pub const POSTGRES_URL_ENV: &str = "OUTRIGGER_TEST_POSTGRES_URL";
/// Names a running MySQL or MariaDB: the URL of any database of a superuser's.
pub const MYSQL_URL_ENV: &str = "OUTRIGGER_TEST_MYSQL_URL";
/// Names a running Redis.
pub const REDIS_URL_ENV: &str = "OUTRIGGER_TEST_REDIS_URL";

/// The URL of the PostgreSQL that this test process shares.
pub fn postgres_url() -> Result<String, Error> {
    static SHARED: OnceLock<Result<Postgres, Error>> = OnceLock::new();
    shared_url(POSTGRES_URL_ENV, &SHARED, || {
        Postgres::start(Durability::ProcessCrash)
    })
}

/// The URL of the MySQL or MariaDB that this test process shares.
pub fn mysql_url() -> Result<String, Error> {
    static SHARED: OnceLock<Result<MySql, Error>> = OnceLock::new();
    shared_url(MYSQL_URL_ENV, &SHARED, MySql::start)
}

/// The URL of the Redis that this test process shares.
pub fn redis_url() -> Result<String, Error> {
    static SHARED: OnceLock<Result<Redis, Error>> = OnceLock::new();
    shared_url(REDIS_URL_ENV, &SHARED, Redis::start)
}

fn shared_url<S: AsRef<str>>(
    env: &str,
    shared: &'static OnceLock<Result<S, Error>>,
    start: impl FnOnce() -> Result<S, Error>,
) -> Result<String, Error> {
    if let Ok(url) = std::env::var(env) {
        return Ok(url);
    }
    shared
        .get_or_init(start)
        .as_ref()
        .map(|server| server.as_ref().to_owned())
        .map_err(Clone::clone)
}

/// Creates an empty database on the shared PostgreSQL and returns its URL. It is left
/// behind: the server is private and goes away with all of them.
pub async fn fresh_database() -> Result<String, Error> {
    let maintenance = postgres_url()?;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let (client, connection) = tokio_postgres::connect(&maintenance, tokio_postgres::NoTls)
        .await
        .map_err(|error| Error::database(&maintenance, &error))?;
    let connection = tokio::spawn(connection);
    let created = client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .map_err(|error| Error::database(&maintenance, &error));
    drop(client);
    // The maintenance connection is only needed for this one statement.
    connection.abort();
    created?;
    with_database(&maintenance, &name)
}

/// Creates an empty database on the shared MySQL or MariaDB and returns its URL. It is left
/// behind as the others are.
pub async fn fresh_mysql_database() -> Result<String, Error> {
    let maintenance = mysql_url()?;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let failed = |error: sqlx::Error| Error::database(&maintenance, &error);
    let mut connection = MySqlConnection::connect(&maintenance)
        .await
        .map_err(failed)?;
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create)
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    with_database(&maintenance, &name)
}

/// The same server and user, another database.
fn with_database(url: &str, database: &str) -> Result<String, Error> {
    let (base, options) = url
        .split_once('?')
        .map_or((url, None), |(base, options)| (base, Some(options)));
    let (server, _) = base.rsplit_once('/').ok_or_else(|| Error::Database {
        url: url.to_owned(),
        error: "the URL names no database".to_owned(),
    })?;
    Ok(match options {
        Some(options) => format!("{server}/{database}?{options}"),
        None => format!("{server}/{database}"),
    })
}

/// A prefix that no other test uses for its keys.
pub fn fresh_prefix() -> String {
    format!("test:{}:", uuid::Uuid::new_v4().simple())
}
