//! What only the sidecar can reach: the application's database.

use outrigger_sdk::{Verdict, admin::wire::TransactionState, fence, migrations};
use outrigger_tests::half_messages::{becomes, prepare};
use sqlx::{Sqlite, SqlitePool, sqlite::SqliteConnectOptions};

use crate::harness::{Bench, stored_count};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_asks_the_fence_of_its_application_whoever_leads() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("orders.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("opened");
    migrations::sqlite().run(&pool).await.expect("migrated");
    let config = format!(
        "[check_back]\nfirst_check_ms = 200\ninterval_ms_max = 500\n\
         [producer_groups.orders]\ncheck_back = \"table\"\ndatabase = \"sqlite://{}\"\n",
        path.display()
    );
    let mut bench = Bench::start_with_config(&config).await;
    let client = bench.client().await;

    let committed = prepare(&client, "orders", "committed").await;
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<Sqlite>(&mut tx, committed, "orders")
        .await
        .expect("inserted");
    tx.commit().await.expect("committed");
    let never_begun = prepare(&client, "orders", "never begun").await;
    becomes(&client, committed, TransactionState::Committed).await;
    becomes(&client, never_begun, TransactionState::RolledBack).await;

    // Begun under one leader, decided under the next one.
    let running = prepare(&client, "orders", "running").await;
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<Sqlite>(&mut tx, running, "orders")
        .await
        .expect("inserted");
    let leader = bench.cluster.leader().await.expect("a leader");
    bench.cluster.restart(leader).await.expect("it comes back");
    tx.commit().await.expect("committed");
    becomes(&client, running, TransactionState::Committed).await;
    assert_eq!(stored_count(&client, "orders").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_answers_through_its_sidecar_whoever_leads() {
    let mut bench = Bench::start().await;
    let client = bench.client().await;
    let producer = client.producer("callers");
    let answering = tokio::spawn(async move {
        let answer = async |_| Verdict::Commit;
        producer.answer_check_backs(answer).await
    });
    let first = prepare(&client, "callers", "first").await;
    becomes(&client, first, TransactionState::Committed).await;
    let leader = bench.cluster.leader().await.expect("a leader");
    bench.cluster.restart(leader).await.expect("it comes back");
    let second = prepare(&client, "callers", "second").await;
    becomes(&client, second, TransactionState::Committed).await;
    answering.abort();
}
