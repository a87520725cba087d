//! Half-messages that nobody resolves: the database decides, or the application.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use outrigger_sdk::{
    Client, LocalDatabase, Message, Verdict, admin::wire::TransactionState, fence, migrations,
};
use outrigger_tests::{
    half_messages::{becomes, prepare},
    servers,
};
use sqlx::{PgPool, Pool, SqlitePool, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use crate::harness::{Bench, read_all, stored_count};

async fn state_of(client: &Client, id: Uuid) -> TransactionState {
    client
        .admin()
        .transaction(id)
        .await
        .expect("it exists")
        .state()
}

/// Committed, rolled back, still running, never begun: each is found out.
async fn the_fence_decides<DB: LocalDatabase>(bench: &Bench, pool: Pool<DB>) {
    let client = bench.client().await;

    let committed = prepare(&client, "orders", "committed").await;
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<DB>(&mut tx, committed, "orders")
        .await
        .expect("inserted");
    tx.commit().await.expect("committed");

    let rolled_back = prepare(&client, "orders", "rolled back").await;
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<DB>(&mut tx, rolled_back, "orders")
        .await
        .expect("inserted");
    tx.rollback().await.expect("rolled back");

    let never_begun = prepare(&client, "orders", "never begun").await;

    becomes(&client, committed, TransactionState::Committed).await;
    becomes(&client, rolled_back, TransactionState::RolledBack).await;
    becomes(&client, never_begun, TransactionState::RolledBack).await;

    // Decided is decided: the local transaction that comes too late cannot begin.
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<DB>(&mut tx, never_begun, "orders")
        .await
        .expect_err("decided");
    drop(tx);

    // A local transaction that runs through several checks is not rolled back by them.
    let running = prepare(&client, "orders", "long running").await;
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<DB>(&mut tx, running, "orders")
        .await
        .expect("inserted");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(state_of(&client, running).await, TransactionState::Prepared);
    tx.commit().await.expect("committed");
    becomes(&client, running, TransactionState::Committed).await;

    let delivered: Vec<String> = read_all(&client, "orders").await.into_keys().collect();
    assert_eq!(delivered, ["committed", "long running"]);
}

fn table_mode(database: &str) -> String {
    format!(
        "[check_back]\nfirst_check_ms = 200\ninterval_ms_max = 500\n\
         [producer_groups.orders]\ncheck_back = \"table\"\ndatabase = \"{database}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_decides_in_sqlite() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("orders.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("opened");
    migrations::sqlite().run(&pool).await.expect("migrated");
    let bench = Bench::start_with_config(&table_mode(&format!("sqlite://{}", path.display())));
    the_fence_decides(&bench, pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_decides_in_postgres() {
    let url = servers::fresh_database().await.expect("a PostgreSQL");
    let pool = PgPool::connect(&url).await.expect("connected");
    migrations::postgres().run(&pool).await.expect("migrated");
    let bench = Bench::start_with_config(&table_mode(&url));
    the_fence_decides(&bench, pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_reached_decides_nothing_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("orders.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("opened");
    migrations::sqlite().run(&pool).await.expect("migrated");
    let config = format!(
        "{}[producer_groups.dead]\ncheck_back = \"table\"\n\
         database = \"postgres://nobody@127.0.0.1:1/none\"\npark_after_ms = 3000\n",
        table_mode(&format!("sqlite://{}", path.display()))
    );
    let mut bench = Bench::start_with_config(&config);
    let client = bench.client().await;
    let stuck = prepare(&client, "dead", "stuck").await;
    let fine = prepare(&client, "orders", "fine").await;
    becomes(&client, fine, TransactionState::RolledBack).await;
    becomes(&client, stuck, TransactionState::Parked).await;

    // Set aside, not lost: also over a crash; and a person can decide it.
    bench.sidecar.restart().expect("it starts again");
    assert_eq!(state_of(&client, stuck).await, TransactionState::Parked);
    let refused = client
        .admin()
        .decide_transaction(stuck, Verdict::Commit, "")
        .await;
    assert_eq!(
        refused.expect_err("a reason is needed").reason,
        "ILLEGAL_REASON"
    );
    let decided = client
        .admin()
        .decide_transaction(stuck, Verdict::Commit, "seen in the books")
        .await;
    let decided = decided.expect("decided");
    assert_eq!(decided.state(), TransactionState::Committed);
    assert_eq!(
        decided.audit.last().expect("audited").reason,
        "seen in the books"
    );
    assert_eq!(stored_count(&client, "orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_is_asked_and_unknown_decides_nothing() {
    let bench =
        Bench::start_with_config("[check_back]\nfirst_check_ms = 100\ninterval_ms_max = 300\n");
    let client = bench.client().await;
    let asked = Arc::new(AtomicU32::new(0));
    let answering = tokio::spawn({
        let (client, asked) = (client.clone(), asked.clone());
        async move {
            client
                .producer("callers")
                .answer_check_backs(|_| {
                    let times = asked.fetch_add(1, Ordering::Relaxed) + 1;
                    std::future::ready(if times < 3 {
                        Verdict::Unknown
                    } else {
                        Verdict::Commit
                    })
                })
                .await
        }
    });
    let id = prepare(&client, "callers", "asked for").await;
    becomes(&client, id, TransactionState::Committed).await;
    assert!(asked.load(Ordering::Relaxed) >= 3);
    answering.abort();
    assert_eq!(
        read_all(&client, "orders")
            .await
            .into_keys()
            .collect::<Vec<_>>(),
        ["asked for"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_can_be_written_inside_the_local_transaction() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("orders.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("opened");
    migrations::sqlite().run(&pool).await.expect("migrated");
    let bench = Bench::start_with_config(&table_mode(&format!("sqlite://{}", path.display())));
    let client = bench.client().await;
    let producer = client.producer("orders");

    // Resolved by the application.
    producer
        .transaction()
        .message(Message::from_fence("orders"))
        .run(&pool, async |tx| {
            tx.set_payload("resolved");
            Ok(())
        })
        .await
        .expect("committed");

    // Resolved by check-back, which reads the fence row.
    let late = producer
        .transaction()
        .message(Message::from_fence("orders"))
        .prepare()
        .await;
    let late = late.expect("prepared").id();
    let mut tx = pool.begin().await.expect("begun");
    fence::insert::<sqlx::Sqlite>(&mut tx, late, "orders")
        .await
        .expect("inserted");
    fence::set_payload::<sqlx::Sqlite>(&mut tx, late, b"checked")
        .await
        .expect("set");
    tx.commit().await.expect("committed");
    becomes(&client, late, TransactionState::Committed).await;

    let delivered: Vec<String> = read_all(&client, "orders").await.into_keys().collect();
    assert_eq!(delivered, ["checked", "resolved"]);
}
