use std::time::Duration;

use outrigger_sdk::{
    barrier::{Call, Error, Phase},
    migrations,
};
use sqlx::{
    Sqlite,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

use super::sql::{sql_participant, sql_tests};

sql_participant!(InSqlite, Sqlite, make_older: "created_at - {}");
sql_tests!(InSqlite);

impl InSqlite {
    async fn open() -> anyhow::Result<Self> {
        Self::with_busy_timeout(Duration::from_secs(5)).await
    }

    async fn with_busy_timeout(busy_timeout: Duration) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("app.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(busy_timeout);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await?;
        migrations::sqlite().run(&pool).await?;
        Self::new(pool, Some(directory)).await
    }
}

/// Somebody else is writing all the time: whoever called is told to come again.
#[tokio::test]
async fn a_database_that_stays_busy_is_an_answer() -> anyhow::Result<()> {
    let participant = InSqlite::with_busy_timeout(Duration::from_millis(1)).await?;
    let writing = participant.pool.begin_with("BEGIN IMMEDIATE").await?;
    let action = Call::new("one", "debit", Phase::Action)?;
    let effect = async |_: &mut _| Ok("");
    let error = participant.barrier.run(&action, effect).await.err();
    assert!(matches!(error, Some(Error::Busy { .. })), "{error:?}");
    assert!(error.is_some_and(|error| error.is_retryable()));
    writing.rollback().await?;
    participant.barrier.run(&action, effect).await?;
    Ok(())
}
