//! Transactions on a real SQLite database, against a fake sidecar.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod fake;

use std::{
    str::FromStr as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use fake::{FakeConsumer, FakeProducer, Sidecar, producer::Fate};
use outrigger_proto::v1;
use outrigger_sdk::{
    Client, Message, Producer, PublishOptions, Verdict, check_back, fence, migrations,
    transaction::{Error, Step},
};
use sqlx::{
    SqlitePool,
    migrate::{Migration, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tempfile::TempDir;

#[derive(Debug, thiserror::Error)]
#[error("sold out")]
struct SoldOut;

struct World {
    fake: FakeProducer,
    producer: Producer,
    pool: SqlitePool,
    steps: Arc<Mutex<Vec<Step>>>,
    _sidecar: Sidecar,
    _directory: TempDir,
}

impl World {
    async fn new(fake: FakeProducer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/orders.db", directory.path().display());
        let options = SqliteConnectOptions::from_str(&url)
            .unwrap()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePool::connect_with(options).await.unwrap();
        migrations::sqlite().run(&pool).await.unwrap();
        // The application's own migrations, with the same numbers, in the same database.
        let own = [
            (1, "CREATE TABLE orders (id INTEGER PRIMARY KEY)"),
            (2, "SELECT 1"),
        ];
        let own = own.map(|(version, sql)| {
            let kind = sqlx::migrate::MigrationType::Simple;
            let sql = sqlx::SqlSafeStr::into_sql_str(sql);
            Migration::new(version, "own".into(), kind, sql, false)
        });
        Migrator::with_migrations(own.to_vec())
            .run(&pool)
            .await
            .unwrap();
        migrations::sqlite().run(&pool).await.unwrap();

        let sidecar = Sidecar::start(fake.clone(), FakeConsumer::default()).await;
        let options = PublishOptions {
            retry_total_ms: 400,
            ..PublishOptions::default()
        };
        let client = Client::connect_with(sidecar.uri(), options).await.unwrap();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let producer = client
            .producer("order-service")
            .on_step(move |step| seen.lock().unwrap().push(*step));
        Self {
            fake,
            producer,
            pool,
            steps,
            _sidecar: sidecar,
            _directory: directory,
        }
    }

    async fn place(&self, message: Message, order: i64, sold_out: bool) -> Result<i64, Error> {
        self.producer
            .transaction()
            .message(message)
            .run(&self.pool, async |tx| {
                sqlx::query("INSERT INTO orders VALUES (?1)")
                    .bind(order)
                    .execute(&mut **tx)
                    .await?;
                if sold_out {
                    return Err(SoldOut.into());
                }
                Ok(order)
            })
            .await
    }

    async fn orders(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT id FROM orders ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    fn verdicts(&self) -> Vec<i32> {
        let store = self.fake.store.lock().unwrap();
        store
            .resolved
            .values()
            .map(|resolve| resolve.verdict)
            .collect()
    }
}

#[tokio::test]
async fn a_commit_goes_through_all_steps_and_leaves_its_fence() {
    let world = World::new(FakeProducer::reliable()).await;
    let order = world.place(Message::new("orders", "17"), 17, false).await;
    assert_eq!(order.unwrap(), 17);
    assert_eq!(world.orders().await, [17]);
    assert_eq!(world.verdicts(), [v1::Verdict::Commit as i32]);

    let steps = world.steps.lock().unwrap().clone();
    let [
        Step::Prepared { id },
        Step::LocallyCommitted { .. },
        Step::Resolved { verdict, .. },
    ] = steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(verdict, Verdict::Commit);
    let decision = fence::decide(&world.pool, id, "order-service").await;
    assert_eq!(decision.unwrap().verdict, Verdict::Commit);
}

#[tokio::test]
async fn a_failure_of_the_application_rolls_back_here_and_there() {
    let world = World::new(FakeProducer::reliable()).await;
    let error = world
        .place(Message::new("orders", "17"), 17, true)
        .await
        .unwrap_err();
    assert!(error.aborted_with::<SoldOut>().is_some(), "{error}");
    assert!(world.orders().await.is_empty());
    assert_eq!(world.verdicts(), [v1::Verdict::Rollback as i32]);
}

#[tokio::test]
async fn a_late_payload_is_in_the_fence_and_in_resolve_and_must_not_be_forgotten() {
    let world = World::new(FakeProducer::reliable()).await;
    let id = world
        .producer
        .transaction()
        .message(Message::from_fence("orders"))
        .run(&world.pool, async |tx| {
            tx.set_payload("late");
            Ok(tx.id())
        })
        .await
        .unwrap();
    let payload = world.fake.store.lock().unwrap().resolved[&id.to_string()]
        .payload
        .clone();
    assert_eq!(payload.as_deref(), Some(b"late".as_slice()));
    let decision = fence::decide(&world.pool, id, "order-service").await;
    assert_eq!(
        decision.unwrap().payload.as_deref(),
        Some(b"late".as_slice())
    );

    let forgotten = world.place(Message::from_fence("orders"), 18, false).await;
    assert!(matches!(forgotten, Err(Error::PayloadMissing { .. })));
    assert!(world.orders().await.is_empty());
}

#[tokio::test]
async fn a_check_back_that_was_first_lets_nothing_happen() {
    let world = World::new(FakeProducer::reliable()).await;
    let prepared = world
        .producer
        .transaction()
        .message(Message::new("orders", "17"))
        .prepare()
        .await
        .unwrap();
    let decision = fence::decide(&world.pool, prepared.id(), "order-service").await;
    assert_eq!(decision.unwrap().verdict, Verdict::Rollback);

    let mut tx = world.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let late = fence::insert::<sqlx::Sqlite>(&mut tx, prepared.id(), "order-service").await;
    assert!(matches!(late, Err(fence::Error::DecidedByCheckBack { .. })));
    assert!(Error::from(late.unwrap_err()).is_retryable());
}

#[tokio::test]
async fn a_lost_resolve_is_left_to_check_back_which_the_fence_answers() {
    // Prepare is answered, and nothing after it.
    let world = World::new(FakeProducer::new(|frame| match frame {
        1 => Fate::Answer,
        _ => Fate::BreakBefore,
    }))
    .await;
    let order = world.place(Message::new("orders", "17"), 17, false).await;
    assert_eq!(order.unwrap(), 17);
    assert!(world.verdicts().is_empty());

    let transactions: Vec<String> = {
        let mut store = world.fake.store.lock().unwrap();
        let mut ids: Vec<String> = store.prepared.keys().cloned().collect();
        // One that never reached the database.
        ids.push(uuid::Uuid::from_u128(18).to_string());
        store.questions = ids
            .iter()
            .map(|id| v1::CheckBackQuestion {
                transaction_id: id.clone(),
                attempt: 1,
                ..v1::CheckBackQuestion::default()
            })
            .collect();
        ids
    };
    let answering = world
        .producer
        .answer_check_backs(async |question| check_back::from_fence(&world.pool, &question).await);
    let answered = async {
        while world.fake.store.lock().unwrap().answers.len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        refusal = answering => panic!("{refusal}"),
        () = answered => {}
    }
    let answers = world.fake.store.lock().unwrap().answers.clone();
    for answer in answers {
        let expected = if answer.transaction_id == transactions[0] {
            v1::Verdict::Commit
        } else {
            v1::Verdict::Rollback
        };
        assert_eq!(answer.verdict, expected as i32);
    }
}
