//! Private servers for tests: PostgreSQL and Redis on free ports, in a temporary
//! directory, gone when the test process is gone.
//!
//! A test asks for a database ([`fresh_database`]) or a key prefix ([`fresh_prefix`]) of
//! its own and shares the server with everybody else. The server is the one named by
//! [`POSTGRES_URL_ENV`] or [`REDIS_URL_ENV`], which `tests/run` sets; without them one
//! server per test process is started on first use.

mod error;
mod port;
mod postgres;
mod redis;
mod supervised;

use std::sync::OnceLock;

pub use error::Error;
pub use postgres::{Durability, Postgres};
pub use redis::Redis;

/// Names a running PostgreSQL: the URL of a superuser's maintenance database.
pub const POSTGRES_URL_ENV: &str = "OUTRIGGER_TEST_POSTGRES_URL";
/// Names a running Redis.
pub const REDIS_URL_ENV: &str = "OUTRIGGER_TEST_REDIS_URL";

/// The URL of the PostgreSQL that this test process shares.
pub fn postgres_url() -> Result<String, Error> {
    static SHARED: OnceLock<Result<Postgres, Error>> = OnceLock::new();
    shared_url(POSTGRES_URL_ENV, &SHARED, || {
        Postgres::start(Durability::ProcessCrash)
    })
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
    postgres::with_database(&maintenance, &name)
}

/// A prefix that no other test uses for its keys.
pub fn fresh_prefix() -> String {
    format!("test:{}:", uuid::Uuid::new_v4().simple())
}
