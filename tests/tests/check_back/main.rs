//! Check-back as a whole: the log store, the scheduler and a real fence.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::join_all;
use outrigger::check_back::{self, CheckBack, CollectOptions, GroupOptions, Mode};
use outrigger_core::half_message::State;
use outrigger_log::{Command, Log, NewMessage, Outcome, TopicId, Transaction, TransactionId};
use outrigger_proto::stored;
use outrigger_tests::servers::fresh_database;
use prost::Message as _;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

const GROUP: &str = "order-service";

/// A log with check-back on a database.
struct Sidecar {
    directory: TempDir,
    log: Log,
    topic: TopicId,
    check_back: CheckBack,
    stop: watch::Sender<bool>,
}

impl Sidecar {
    async fn start(database: &str) -> anyhow::Result<Self> {
        Self::in_directory(tempfile::tempdir()?, database).await
    }

    async fn in_directory(directory: TempDir, database: &str) -> anyhow::Result<Self> {
        let log = Log::open(outrigger_log::Options {
            wal_segment_bytes: 16 << 20,
            wal_first_segment_bytes: 1 << 20,
            ..outrigger_log::Options::new(directory.path())
        })
        .await?;
        let create = Command::CreateTopic {
            name: "orders".to_owned(),
            queues: 1,
            durability: Default::default(),
        };
        let topic = match log.submit(vec![create])?.await?.pop() {
            Some(Outcome::Topic(topic)) => topic,
            other => anyhow::bail!("{other:?}"),
        };
        let mode = Mode::Table {
            database: database.to_owned(),
        };
        let group = GroupOptions {
            mode,
            first_check_ms: Some(500),
            park_after_ms: None,
        };
        let options = check_back::Options {
            groups: BTreeMap::from([(GROUP.to_owned(), group)]),
            patrol_interval_ms: 100,
            collect: CollectOptions {
                interval_ms: 100,
                ..CollectOptions::default()
            },
            ..check_back::Options::default()
        };
        let (stop, stopping) = watch::channel(false);
        let check_back = check_back::start(log.clone(), options, stopping)?;
        Ok(Self {
            directory,
            log,
            topic,
            check_back,
            stop,
        })
    }

    /// As kill -9 of the check-back, with an orderly end of the log.
    async fn stop(self) -> anyhow::Result<TempDir> {
        self.stop.send(true)?;
        self.check_back.stopped().await;
        self.log.shutdown().await;
        Ok(self.directory)
    }

    async fn prepare(&self, from_fence: bool) -> anyhow::Result<Uuid> {
        let id = Uuid::now_v7();
        let source = if from_fence {
            stored::BodySource::FromFence
        } else {
            stored::BodySource::Inline
        };
        let message = stored::Message {
            topic: "orders".to_owned(),
            message_id: id.to_string(),
            body: if from_fence { "" } else { "inline" }.into(),
            body_source: source.into(),
            ..stored::Message::default()
        };
        let prepare = Command::Prepare {
            id: TransactionId(id.as_u128()),
            producer_group: GROUP.to_owned(),
            fingerprint: id.as_u128(),
            messages: vec![NewMessage {
                destination: self.topic.into(),
                key_hash: 0,
                tag_hash: 0,
                deliver_at_ms: 0,
                from_fence,
                stored: message.encode_to_vec().into(),
            }],
        };
        match self.log.submit(vec![prepare])?.await?.pop() {
            Some(Outcome::Prepared { repeated: false }) => Ok(id),
            other => anyhow::bail!("{other:?}"),
        }
    }

    fn transaction(&self, id: Uuid) -> anyhow::Result<Transaction> {
        let id = TransactionId(id.as_u128());
        self.log.transaction(id)?.context("not found")
    }

    async fn until(&self, id: Uuid, state: State) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.transaction(id)?.state != state {
            let why = self
                .check_back
                .last_checks()
                .of(TransactionId(id.as_u128()));
            anyhow::ensure!(Instant::now() < deadline, "{id} is not {state:?}: {why:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The bodies of everything delivered, by message id.
    fn delivered(&self) -> anyhow::Result<BTreeMap<String, Bytes>> {
        let mut entries = Vec::new();
        self.log.index(self.topic, 0, 0, 10_000, &mut entries)?;
        let mut delivered = BTreeMap::new();
        for stored in self.log.read(&entries)? {
            let message = stored::Message::decode(stored)?;
            let twice = delivered.insert(message.message_id.clone(), message.body);
            anyhow::ensure!(twice.is_none(), "{} twice", message.message_id);
        }
        Ok(delivered)
    }
}

const INSERT: &str =
    "INSERT INTO outrigger_transaction (id, decision, producer_group, payload) VALUES";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_committed_is_delivered_and_nothing_else() -> anyhow::Result<()> {
    const TRANSACTIONS: usize = 300;
    let url = fresh_database().await?;
    let pool = PgPool::connect(&url).await?;
    sqlx::raw_sql(include_str!(
        "../../../migrations/postgres/1_transaction.sql"
    ))
    .execute(&pool)
    .await?;
    let sidecar = Sidecar::start(&url).await?;
    let mut expected = BTreeMap::new();
    let mut running = Vec::new();
    let mut ids = Vec::new();
    for number in 0..TRANSACTIONS {
        let from_fence = number % 2 == 0;
        let id = sidecar.prepare(from_fence).await?;
        ids.push(id);
        let payload = from_fence.then(|| format!("late {number}"));
        let body = payload.clone().unwrap_or_else(|| "inline".to_owned());
        let insert = sqlx::query(AssertSqlSafe(format!(
            "{INSERT} ($1::uuid, 'commit', $2, $3)"
        )))
        .bind(id.to_string())
        .bind(GROUP)
        .bind(payload.map(String::into_bytes));
        match number % 5 {
            // The application died before its first statement.
            0 => {}
            // It died with its transaction open, which the database rolls back in the end.
            1 if running.len() < 5 => {
                let mut transaction = pool.begin().await?;
                insert.execute(&mut *transaction).await?;
                running.push(transaction);
            }
            // It died between its commit and its Resolve.
            _ => {
                insert.execute(&pool).await?;
                expected.insert(id.to_string(), Bytes::from(body));
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for transaction in running {
        transaction.rollback().await?;
    }
    for id in &ids {
        let committed = expected.contains_key(&id.to_string());
        let state = if committed {
            State::Committed
        } else {
            State::RolledBack
        };
        sidecar.until(*id, state).await?;
    }
    assert_eq!(sidecar.delivered()?, expected);
    sidecar.stop().await?;
    Ok(())
}

async fn sqlite(directory: &TempDir) -> anyhow::Result<(SqlitePool, String)> {
    let file = directory.path().join("app.db");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(include_str!("../../../migrations/sqlite/1_transaction.sql"))
        .execute(&pool)
        .await?;
    Ok((pool, format!("sqlite:{}", file.display())))
}

/// The database is away for longer than the sidecar lives; nothing is decided meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_and_a_restart_decide_nothing() -> anyhow::Result<()> {
    let application = tempfile::tempdir()?;
    let url = format!("sqlite:{}", application.path().join("app.db").display());
    let sidecar = Sidecar::start(&url).await?;
    let ids = join_all((0..20).map(|_| sidecar.prepare(false))).await;
    let ids = ids.into_iter().collect::<anyhow::Result<Vec<Uuid>>>()?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let directory = sidecar.stop().await?;

    let sidecar = Sidecar::in_directory(directory, &url).await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for id in &ids {
        assert_eq!(sidecar.transaction(*id)?.state, State::Prepared);
    }
    let (pool, _) = sqlite(&application).await?;
    for id in ids.iter().step_by(2) {
        sqlx::query(AssertSqlSafe(format!(
            "{INSERT} ($1, 'commit', $2, NULL) ON CONFLICT DO NOTHING"
        )))
        .bind(id.to_string())
        .bind(GROUP)
        .execute(&pool)
        .await?;
    }
    for (index, id) in ids.iter().enumerate() {
        // A row that came too late lost to the check; then nothing is delivered.
        let deadline = Instant::now() + Duration::from_secs(20);
        while sidecar.transaction(*id)?.state == State::Prepared {
            anyhow::ensure!(Instant::now() < deadline, "{id} stays undecided");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if index % 2 == 1 {
            assert_eq!(sidecar.transaction(*id)?.state, State::RolledBack);
        }
    }
    let committed: Vec<String> =
        sqlx::query_scalar("SELECT id FROM outrigger_transaction WHERE decision = 'commit'")
            .fetch_all(&pool)
            .await?;
    let delivered: Vec<String> = sidecar.delivered()?.into_keys().collect();
    let mut committed = committed;
    committed.sort();
    assert_eq!(delivered, committed);
    sidecar.stop().await?;
    Ok(())
}

/// Parked for lack of a body; a person sees why, mends it and resumes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_transaction_tells_why_and_goes_on_when_resumed() -> anyhow::Result<()> {
    let application = tempfile::tempdir()?;
    let (pool, url) = sqlite(&application).await?;
    let sidecar = Sidecar::start(&url).await?;
    let id = sidecar.prepare(true).await?;
    sqlx::query(AssertSqlSafe(format!("{INSERT} ($1, 'commit', $2, NULL)")))
        .bind(id.to_string())
        .bind(GROUP)
        .execute(&pool)
        .await?;
    sidecar.until(id, State::Parked).await?;
    let transaction_id = TransactionId(id.as_u128());
    let why = sidecar.check_back.last_checks().of(transaction_id);
    assert!(why.context("no reason")?.contains("no body"));

    sqlx::query("UPDATE outrigger_transaction SET payload = 'mended'")
        .execute(&pool)
        .await?;
    let resume = Command::Resume {
        id: transaction_id,
        reason: "the row has its payload now".to_owned(),
    };
    sidecar.log.submit(vec![resume])?.await?;
    sidecar.until(id, State::Committed).await?;
    assert_eq!(
        sidecar.delivered()?,
        BTreeMap::from([(id.to_string(), Bytes::from("mended"))])
    );
    sidecar.stop().await?;
    Ok(())
}

/// The rows look old enough to go; the log alone knows which of them is still needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_fence_row_goes_as_soon_as_its_transaction_has_its_verdict() -> anyhow::Result<()> {
    const ROUNDS_MS: u64 = 500;
    let application = tempfile::tempdir()?;
    let (pool, url) = sqlite(&application).await?;
    let sidecar = Sidecar::start(&url).await?;
    let id = sidecar.prepare(false).await?;
    let transaction_id = TransactionId(id.as_u128());
    let park = Command::Park { id: transaction_id };
    sidecar.log.submit(vec![park])?.await?;
    let forgotten = Uuid::now_v7();
    let mut rows = pool.begin().await?;
    for id in [id, forgotten] {
        sqlx::query("INSERT INTO outrigger_transaction VALUES ($1, 'commit', $2, NULL, 0)")
            .bind(id.to_string())
            .bind(GROUP)
            .execute(&mut *rows)
            .await?;
    }
    rows.commit().await?;
    let left = async || -> anyhow::Result<Vec<String>> {
        let ids = sqlx::query_scalar("SELECT id FROM outrigger_transaction");
        Ok(ids.fetch_all(&pool).await?)
    };
    let until_left = async |expected: &[String]| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while left().await? != expected {
            anyhow::ensure!(Instant::now() < deadline, "{:?}", left().await?);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    until_left(&[id.to_string()]).await?;
    tokio::time::sleep(Duration::from_millis(ROUNDS_MS)).await;
    until_left(&[id.to_string()]).await?;

    let resume = Command::Resume {
        id: transaction_id,
        reason: "the application is back".to_owned(),
    };
    sidecar.log.submit(vec![resume])?.await?;
    sidecar.until(id, State::Committed).await?;
    until_left(&[]).await?;
    assert!(sidecar.delivered()?.contains_key(&id.to_string()));
    sidecar.stop().await?;
    Ok(())
}
