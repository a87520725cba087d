//! How many check-backs per second a fence answers, on a private PostgreSQL that syncs as
//! in production and on SQLite, and what stuck local transactions cost the others.
//!
//! `cargo run --release -p outrigger-tests --example fence_rate`

#![allow(clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all, stream};
use outrigger::check_back::fence::{self, FenceChecker, PostgresFence, PostgresOptions};
use outrigger_tests::servers::{Durability, Postgres};
use sqlx::{PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqliteConnectOptions};
use uuid::Uuid;

const CHECKS: usize = 40_000;
const PARALLEL: usize = 1_024;
const PRODUCER_GROUP: &str = "order-service";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Postgres::start(Durability::PowerLoss)?;
    let pool = PgPoolOptions::new()
        .max_connections(80)
        .connect(server.url())
        .await?;
    sqlx::raw_sql(include_str!("../../migrations/postgres/1_transaction.sql"))
        .execute(&pool)
        .await?;
    for connections in [1, 2, 4, 8] {
        let mut options = PostgresOptions::new(server.url())?;
        options.quick_connections_max = connections;
        let fence: Arc<dyn FenceChecker> = Arc::new(PostgresFence::new(options));
        rate(&format!("postgres, {connections} connections"), &fence).await;
    }
    for quick_lock_timeout_ms in [1, 5, 20, 200] {
        for stuck in [0, 1, 64] {
            let mut options = PostgresOptions::new(server.url())?;
            options.quick_lock_timeout_ms = quick_lock_timeout_ms;
            beside_stuck(&pool, options, stuck).await?;
        }
    }
    sqlite().await
}

/// First nothing is there, then everything is.
async fn rate(name: &str, fence: &Arc<dyn FenceChecker>) {
    fence.check(Uuid::now_v7(), PRODUCER_GROUP).await;
    let ids: Vec<Uuid> = (0..CHECKS).map(|_| Uuid::now_v7()).collect();
    for what in ["absent", "present"] {
        let started = Instant::now();
        stream::iter(&ids)
            .for_each_concurrent(PARALLEL, async |id| {
                fence.check(*id, PRODUCER_GROUP).await;
            })
            .await;
        let per_second = CHECKS as f64 / started.elapsed().as_secs_f64();
        println!("{name}: rows {what}: {per_second:.0} checks/s");
    }
}

async fn beside_stuck(pool: &PgPool, options: PostgresOptions, stuck: usize) -> anyhow::Result<()> {
    const OTHERS: usize = 1_000;
    let waits_ms = options.quick_lock_timeout_ms;
    let fence = PostgresFence::new(options);
    join_all((0..64).map(|_| fence.check(Uuid::now_v7(), PRODUCER_GROUP))).await;
    let mut held = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..stuck {
        let id = Uuid::now_v7();
        let mut transaction = pool.begin().await?;
        sqlx::query(
            "INSERT INTO outrigger_transaction (id, decision, producer_group) \
             VALUES ($1::uuid, 'commit', 'app')",
        )
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
        held.push(transaction);
        ids.push(id);
    }
    let started = Instant::now();
    let stuck_ones = join_all(ids.iter().map(|id| fence.check(*id, PRODUCER_GROUP)));
    let others = async {
        join_all((0..OTHERS).map(|_| fence.check(Uuid::now_v7(), PRODUCER_GROUP))).await;
        started.elapsed()
    };
    let (_, others) = futures::join!(stuck_ones, others);
    println!(
        "postgres: {OTHERS} others beside {stuck} stuck, lock timeout {waits_ms} ms: {others:?}"
    );
    Ok(())
}

async fn sqlite() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("app.db");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(include_str!("../../migrations/sqlite/1_transaction.sql"))
        .execute(&pool)
        .await?;
    let fence = fence::for_url(&format!("sqlite:{}", file.display()))?;
    rate("sqlite", &fence).await;
    Ok(())
}
