use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::join_all;
use outrigger::check_back::{
    Answer, Undecided,
    fence::{self, FenceChecker, FenceStore, PostgresFence, PostgresOptions},
};
use outrigger_tests::servers::{Durability, Postgres, fresh_database};
use sqlx::{PgPool, Transaction, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{Application, PRODUCER_GROUP, Taken, conformance};

const SCHEMA: &str = include_str!("../../../../migrations/postgres/1_transaction.sql");

struct PostgresApplication {
    url: String,
    pool: PgPool,
}

impl PostgresApplication {
    async fn on(url: String) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(120))
            .connect(&url)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { url, pool })
    }

    async fn begun(&self, id: Uuid) -> anyhow::Result<Transaction<'static, sqlx::Postgres>> {
        self.begin(id, None).await?.ok().context("taken")
    }
}

impl Application for PostgresApplication {
    type Transaction = Transaction<'static, sqlx::Postgres>;

    async fn start() -> anyhow::Result<Self> {
        Self::on(fresh_database().await?).await
    }

    fn sidecar(&self) -> anyhow::Result<Arc<dyn FenceChecker>> {
        Ok(fence::for_url(&self.url)?)
    }

    fn store(&self) -> anyhow::Result<Arc<dyn FenceStore>> {
        Ok(fence::store_for_url(&self.url)?)
    }

    async fn make_older(&self, id: Uuid, by_ms: u64) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE outrigger_transaction \
             SET created_at = created_at - $2 * interval '1 millisecond' WHERE id = $1::uuid",
        )
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
        let mut transaction = self.pool.begin().await?;
        // As text, so that sqlx's uuid support is not needed for this alone.
        let inserted = sqlx::query(
            "INSERT INTO outrigger_transaction (id, decision, producer_group, payload) \
             VALUES ($1::uuid, 'commit', $2, $3)",
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

conformance!(PostgresApplication);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_transactions_do_not_hold_up_a_thousand_others() -> anyhow::Result<()> {
    const OTHERS: usize = 1_000;
    const STUCK: usize = 8;
    const FOR_EVER_MS: u64 = 120_000;
    let application = PostgresApplication::start().await?;
    // Whoever waits for a stuck transaction waits for the whole test.
    let mut options = PostgresOptions::new(&application.url)?;
    options.lock_timeout_ms = FOR_EVER_MS;
    options.statement_timeout_ms = 2 * FOR_EVER_MS;
    options.answer_timeout_ms = 2 * FOR_EVER_MS;
    let sidecar = Arc::new(PostgresFence::new(options));
    let mut held = Vec::new();
    let mut asked = Vec::new();
    for id in (0..STUCK).map(|_| Uuid::now_v7()) {
        held.push(application.begun(id).await?);
        let sidecar = Arc::clone(&sidecar);
        asked.push(tokio::spawn(async move {
            sidecar.check(id, PRODUCER_GROUP).await
        }));
    }
    // On a busy machine one of them may wait for PostgreSQL itself, as when the table grows,
    // and is asked again as check-back would do it.
    let mut others: Vec<Uuid> = (0..OTHERS).map(|_| Uuid::now_v7()).collect();
    let deadline = Instant::now() + Duration::from_millis(FOR_EVER_MS / 2);
    while !others.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} are not decided",
            others.len()
        );
        let checks = others.iter().map(|id| sidecar.check(*id, PRODUCER_GROUP));
        let mut answers = join_all(checks).await.into_iter();
        others.retain(|_| answers.next() != Some(Answer::Rollback));
    }
    assert!(
        asked.iter().any(|check| !check.is_finished()),
        "nobody waits any more, so this proves nothing"
    );
    for transaction in held {
        transaction.commit().await?;
    }
    for check in asked {
        let answer = check.await?;
        let waited = answer == Answer::Commit { payload: None };
        let no_patience_left = matches!(
            answer,
            Answer::Unknown {
                why: Undecided::Locked { .. }
            }
        );
        assert!(waited || no_patience_left, "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_ends_while_the_check_waits_is_decided_at_once() -> anyhow::Result<()> {
    let application = PostgresApplication::start().await?;
    let sidecar = application.sidecar()?;
    // Connects the quick and the patient connections.
    let id = Uuid::now_v7();
    let local = application.begun(id).await?;
    sidecar.check(id, PRODUCER_GROUP).await;
    local.rollback().await?;

    let id = Uuid::now_v7();
    let local = application.begun(id).await?;
    let ends = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        local.commit().await
    };
    let (answer, ended) = futures::join!(sidecar.check(id, PRODUCER_GROUP), ends);
    ended?;
    assert_eq!(answer, Answer::Commit { payload: None });
    Ok(())
}

#[tokio::test]
async fn a_missing_table_names_the_command_that_creates_it() -> anyhow::Result<()> {
    let application = PostgresApplication::start().await?;
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    for connected_before in [false, true] {
        if connected_before {
            assert_eq!(sidecar.check(id, PRODUCER_GROUP).await, Answer::Rollback);
        }
        sqlx::raw_sql("DROP TABLE outrigger_transaction")
            .execute(&application.pool)
            .await?;
        match sidecar.check(id, PRODUCER_GROUP).await {
            Answer::Unreachable { why } => {
                assert!(why.to_string().contains("outrigger migrate"), "{why}");
            }
            answer => panic!("{answer:?}"),
        }
        sqlx::raw_sql(SCHEMA).execute(&application.pool).await?;
        settle(&sidecar, id, &Answer::Rollback).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_connection_never_decides_and_is_made_again() -> anyhow::Result<()> {
    let application = PostgresApplication::start().await?;
    let sidecar = application.sidecar()?;
    let id = Uuid::now_v7();
    let local = application.begun(id).await?;
    let cut = async {
        // By now the check waits for the row on a patient connection.
        tokio::time::sleep(Duration::from_millis(100)).await;
        sqlx::raw_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'outrigger check-back'",
        )
        .execute(&application.pool)
        .await
    };
    let (answer, cut) = futures::join!(sidecar.check(id, PRODUCER_GROUP), cut);
    cut?;
    assert!(
        matches!(answer, Answer::Unknown { .. } | Answer::Unreachable { .. }),
        "{answer:?}"
    );
    local.commit().await?;
    settle(&sidecar, id, &Answer::Commit { payload: None }).await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable() -> anyhow::Result<()> {
    let server = Postgres::start(Durability::ProcessCrash)?;
    let application = PostgresApplication::on(server.url().to_owned()).await?;
    let sidecar = application.sidecar()?;
    let answer = sidecar.check(Uuid::now_v7(), PRODUCER_GROUP).await;
    assert_eq!(answer, Answer::Rollback);
    drop(server);
    let gone = |answer: &Answer| {
        matches!(
            answer,
            Answer::Unreachable {
                why: Undecided::Connect { .. }
            }
        )
    };
    // The first ones may find out on the connections they had.
    join_all((0..8).map(|_| sidecar.check(Uuid::now_v7(), PRODUCER_GROUP))).await;
    let answers = join_all((0..1_000).map(|_| sidecar.check(Uuid::now_v7(), PRODUCER_GROUP)));
    let started = Instant::now();
    let answers = answers.await;
    assert!(answers.iter().all(gone), "{:?}", answers.first());
    assert!(started.elapsed() < Duration::from_secs(3));
    Ok(())
}

#[tokio::test]
async fn a_standby_is_refused() -> anyhow::Result<()> {
    let server = Postgres::start_standby()?;
    let sidecar = fence::for_url(server.url())?;
    let opened = fence::store_for_url(server.url())?.open().await;
    assert!(matches!(opened, Err(Undecided::NotPrimary { .. })));
    match sidecar.check(Uuid::now_v7(), PRODUCER_GROUP).await {
        Answer::Unreachable {
            why: Undecided::NotPrimary { .. },
        } => Ok(()),
        answer => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_weaker_durability_of_the_database_is_raised_for_checks() -> anyhow::Result<()> {
    let application = PostgresApplication::start().await?;
    sqlx::raw_sql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', \
         current_database()); END $$;
         CREATE TABLE seen (setting text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
         CREATE TRIGGER note BEFORE INSERT ON outrigger_transaction \
         FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .execute(&application.pool)
    .await?;
    let answer = application
        .sidecar()?
        .check(Uuid::now_v7(), PRODUCER_GROUP)
        .await;
    assert_eq!(answer, Answer::Rollback);
    // An application that answers check-backs itself decides through the SDK.
    let pool = PgPool::connect_with((*application.pool.connect_options()).clone()).await?;
    outrigger_sdk::fence::decide(&pool, Uuid::now_v7(), PRODUCER_GROUP).await?;
    let settings: Vec<String> = sqlx::query_scalar("SELECT setting FROM seen")
        .fetch_all(&application.pool)
        .await?;
    assert_eq!(settings, ["on", "on"]);
    Ok(())
}

/// Waits out the pause after a failed attempt to connect.
async fn settle(sidecar: &Arc<dyn FenceChecker>, id: Uuid, expected: &Answer) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = sidecar.check(id, PRODUCER_GROUP).await;
        if answer == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
