//! An application that passes over a failed statement has nothing committed when the database
//! has rolled back, whatever it answers to COMMIT.

use std::sync::Arc;

use outrigger_sdk::{LocalDatabase, Message, inbox, migrations, transaction};
use outrigger_tests::servers;
use sqlx::{MySqlPool, PgPool, Pool};
use tokio::sync::Barrier;

use crate::harness::{Bench, read_all};

/// A local transaction in which a statement fails, and which goes on.
async fn nothing_is_delivered<DB: LocalDatabase>(
    bench: &Bench,
    pool: &Pool<DB>,
    fail: impl AsyncFn(&mut DB::Connection),
) {
    let producer = bench.client().await.producer("orders");
    let kept = producer
        .transaction()
        .message(Message::new("orders", "kept"))
        .run(pool, async |_| Ok(()))
        .await;
    kept.expect("nothing failed");
    let gone = producer
        .transaction()
        .message(Message::new("orders", "gone"))
        .run(pool, async |tx| {
            fail(&mut **tx).await;
            Ok(())
        })
        .await;
    let error = gone.expect_err("nothing was committed");
    assert!(
        matches!(
            error,
            transaction::Error::LostFence { .. } | transaction::Error::Database(_)
        ),
        "{error}"
    );
    let client = bench.client().await;
    let delivered: Vec<String> = read_all(&client, "orders").await.into_keys().collect();
    assert_eq!(delivered, ["kept"]);

    let effect = inbox::once(pool, "stock", "message-1", async |tx| {
        fail(&mut **tx).await;
        Ok(())
    })
    .await;
    effect.expect_err("nothing was committed");
    let again = inbox::once(pool, "stock", "message-1", async |_| Ok(())).await;
    assert_eq!(again.expect("nothing fails"), inbox::Effect::Done(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_error_in_postgres() {
    let url = servers::fresh_database().await.expect("a PostgreSQL");
    let pool = PgPool::connect(&url).await.expect("connected");
    migrations::postgres().run(&pool).await.expect("migrated");
    let bench = Bench::start();
    nothing_is_delivered(&bench, &pool, async |connection| {
        let failed = sqlx::query("SELECT 1 / 0").execute(connection).await;
        failed.expect_err("there is no such number");
    })
    .await;
}

/// The second of two transactions that wait for each other is rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_deadlock_in_mariadb() {
    let url = servers::fresh_mysql_database().await.expect("a MariaDB");
    let pool = MySqlPool::connect(&url).await.expect("connected");
    migrations::mysql().run(&pool).await.expect("migrated");
    for statement in [
        "CREATE TABLE stock (sku INT PRIMARY KEY, quantity INT NOT NULL) ENGINE = InnoDB",
        "INSERT INTO stock VALUES (1, 10), (2, 10)",
    ] {
        sqlx::raw_sql(statement).execute(&pool).await.expect("done");
    }
    let bench = Bench::start();
    let others = pool.clone();
    nothing_is_delivered(&bench, &pool, async move |connection| {
        let both = Arc::new(Barrier::new(2));
        let (pool, met) = (others.clone(), Arc::clone(&both));
        let other = tokio::spawn(async move {
            let mut tx = pool.begin().await?;
            // The one that has changed less is the victim.
            sqlx::query("INSERT INTO stock SELECT seq, 1 FROM seq_100_to_300")
                .execute(&mut *tx)
                .await?;
            deduct(&mut tx, 2).await?;
            met.wait().await;
            deduct(&mut tx, 1).await?;
            tx.rollback().await
        });
        deduct(connection, 1).await.expect("nobody has it");
        both.wait().await;
        deduct(connection, 2).await.expect_err("a deadlock");
        other
            .await
            .expect("no panic")
            .expect("the other one goes on");
    })
    .await;
}

async fn deduct(connection: &mut sqlx::MySqlConnection, sku: i32) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE stock SET quantity = quantity - 1 WHERE sku = ?")
        .bind(sku)
        .execute(connection)
        .await?;
    Ok(())
}
