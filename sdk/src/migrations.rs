//! The tables of the fence, the inbox and the barrier, as migrations that are compiled in.
//!
//! They keep their own list of what has been applied, in the table
//! `_outrigger_migrations`, so they do not disturb the application's migrations in the
//! same database (which sqlx lists in `_sqlx_migrations`), whatever their numbers are.
//! `outrigger migrate --database URL` applies the same ones.

use sqlx::migrate::Migrator;

/// Where it is recorded which of our migrations have been applied.
const APPLIED_TABLE: &str = "_outrigger_migrations";

/// For PostgreSQL. The tables come into the first schema of the connection's search path.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = sqlx::PgPool::connect("postgres://localhost/orders").await?;
/// outrigger_sdk::migrations::postgres().run(&pool).await?;
/// # Ok(())
/// # }
/// ```
pub fn postgres() -> Migrator {
    ours(sqlx::migrate!("../migrations/postgres"))
}

/// For MySQL from 8.0.13 and MariaDB from 10.6.
///
/// ```no_run
/// # #[cfg(feature = "mysql")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = sqlx::MySqlPool::connect("mysql://app@localhost/orders").await?;
/// outrigger_sdk::migrations::mysql().run(&pool).await?;
/// # Ok(())
/// # }
/// ```
pub fn mysql() -> Migrator {
    ours(sqlx::migrate!("../migrations/mysql"))
}

/// For SQLite.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sqlx::sqlite::SqlitePoolOptions;
///
/// // A database in memory belongs to its one connection.
/// let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// outrigger_sdk::migrations::sqlite().run(&pool).await?;
/// sqlx::query("SELECT count(*) FROM outrigger_inbox").execute(&pool).await?;
/// # Ok(())
/// # }
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub fn sqlite() -> Migrator {
    ours(sqlx::migrate!("../migrations/sqlite"))
}

fn ours(mut migrator: Migrator) -> Migrator {
    migrator.dangerous_set_table_name(APPLIED_TABLE);
    migrator
}
