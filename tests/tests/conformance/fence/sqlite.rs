use std::{sync::Arc, time::Duration};

use outrigger::check_back::{
    Answer,
    fence::{self, FenceChecker, FenceStore},
};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Application, PRODUCER_GROUP, Taken, conformance};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/1_transaction.sql");

struct SqliteApplication {
    directory: TempDir,
    pool: SqlitePool,
}

impl SqliteApplication {
    fn url(&self) -> String {
        format!("sqlite:{}", self.directory.path().join("app.db").display())
    }

    async fn in_directory(directory: TempDir) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(directory.path().join("app.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(120))
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { directory, pool })
    }
}

impl Application for SqliteApplication {
    type Transaction = Transaction<'static, Sqlite>;

    async fn start() -> anyhow::Result<Self> {
        Self::in_directory(tempfile::tempdir()?).await
    }

    fn sidecar(&self) -> anyhow::Result<Arc<dyn FenceChecker>> {
        Ok(fence::for_url(&self.url())?)
    }

    fn store(&self) -> anyhow::Result<Arc<dyn FenceStore>> {
        Ok(fence::store_for_url(&self.url())?)
    }

    async fn make_older(&self, id: Uuid, by_ms: u64) -> anyhow::Result<()> {
        sqlx::query("UPDATE outrigger_transaction SET created_at = created_at - ?2 WHERE id = ?1")
            .bind(id.hyphenated().to_string())
            .bind(i64::try_from(by_ms)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn begin(
        &self,
        id: Uuid,
        payload: Option<&[u8]>,
    ) -> anyhow::Result<Result<Self::Transaction, Taken>> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let inserted = sqlx::query(
            "INSERT INTO outrigger_transaction (id, decision, producer_group, payload) \
             VALUES (?1, 'commit', ?2, ?3)",
        )
        .bind(id.hyphenated().to_string())
        .bind(PRODUCER_GROUP)
        .bind(payload)
        .execute(&mut *transaction)
        .await;
        super::taken(inserted.map(|_| transaction))
    }

    async fn commit(transaction: Self::Transaction) -> anyhow::Result<()> {
        Ok(transaction.commit().await?)
    }

    async fn rollback(transaction: Self::Transaction) -> anyhow::Result<()> {
        Ok(transaction.rollback().await?)
    }
}

conformance!(SqliteApplication);

#[tokio::test]
async fn a_missing_file_is_unreachable_and_stays_missing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("absent.db");
    let sidecar = fence::for_url(&format!("sqlite:{}", file.display()))?;
    let answer = sidecar.check(Uuid::now_v7(), PRODUCER_GROUP).await;
    assert!(matches!(answer, Answer::Unreachable { .. }), "{answer:?}");
    assert!(!file.exists());
    Ok(())
}

#[tokio::test]
async fn a_missing_table_names_the_command_that_creates_it() -> anyhow::Result<()> {
    let application = SqliteApplication::start().await?;
    sqlx::raw_sql("DROP TABLE outrigger_transaction")
        .execute(&application.pool)
        .await?;
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    match sidecar.check(id, PRODUCER_GROUP).await {
        Answer::Unreachable { why } => {
            assert!(why.to_string().contains("outrigger migrate"), "{why}");
        }
        answer => panic!("{answer:?}"),
    }
    sqlx::raw_sql(SCHEMA).execute(&application.pool).await?;
    assert_eq!(sidecar.check(id, PRODUCER_GROUP).await, Answer::Rollback);
    Ok(())
}

/// A restored backup takes the place of a file that the sidecar has open.
#[tokio::test]
async fn a_replaced_file_is_opened_anew() -> anyhow::Result<()> {
    let application = SqliteApplication::start().await?;
    let sidecar = application.sidecar()?;
    let before = sidecar.check(Uuid::now_v7(), PRODUCER_GROUP).await;
    assert_eq!(before, Answer::Rollback);

    let SqliteApplication { directory, pool } = application;
    pool.close().await;
    for entry in std::fs::read_dir(directory.path())? {
        std::fs::remove_file(entry?.path())?;
    }
    let restored = SqliteApplication::in_directory(directory).await?;
    let id = Uuid::now_v7();
    let local = restored.begin(id, Some(b"restored")).await?;
    SqliteApplication::commit(local.map_err(|_| anyhow::anyhow!("taken"))?).await?;
    assert_eq!(
        sidecar.check(id, PRODUCER_GROUP).await,
        Answer::Commit {
            payload: Some("restored".into())
        }
    );
    Ok(())
}

/// SQLite has one writer at a time, but a row that is there needs no writer.
#[tokio::test]
async fn a_committed_row_is_found_while_another_transaction_is_writing() -> anyhow::Result<()> {
    let application = SqliteApplication::start().await?;
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    let local = application.begin(id, None).await?;
    SqliteApplication::commit(local.map_err(|_| anyhow::anyhow!("taken"))?).await?;
    let writing = application.begin(Uuid::now_v7(), None).await?;
    assert_eq!(
        sidecar.check(id, PRODUCER_GROUP).await,
        Answer::Commit { payload: None }
    );
    drop(writing);
    Ok(())
}
