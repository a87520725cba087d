use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, Statement};
use uuid::Uuid;

use super::{
    super::{super::Undecided, Answer},
    failure,
    options::PostgresOptions,
};

const INSERT: &str = "INSERT INTO outrigger_transaction (id, decision, producer_group) \
                      VALUES ($1, 'rollback', $2) ON CONFLICT (id) DO NOTHING";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = $1";

/// One connection with its settings made and its statements prepared.
pub(super) struct Session {
    options: Arc<PostgresOptions>,
    lock_timeout_ms: u64,
    client: Client,
    insert: Statement,
    select: Statement,
    /// Set after an error that may be this connection's own.
    doubtful: AtomicBool,
    _driver: Driver,
}

impl Session {
    pub(super) async fn connect(
        options: Arc<PostgresOptions>,
        lock_timeout_ms: u64,
    ) -> Result<Self, Undecided> {
        let limit = Duration::from_millis(options.connect_timeout_ms);
        let database = options.database.clone();
        timeout(limit, Self::establish(options, lock_timeout_ms))
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Undecided::Connect {
                    database,
                    message: format!("no answer within {} ms", limit.as_millis()),
                })
            })
    }

    async fn establish(
        options: Arc<PostgresOptions>,
        lock_timeout_ms: u64,
    ) -> Result<Self, Undecided> {
        let refused = |error| failure::on_connect(&options.database, &error);
        let (client, connection) = options.config.connect(NoTls).await.map_err(refused)?;
        // The connection's error reaches whoever is waiting for an answer.
        let driver = Driver(tokio::spawn(async move {
            let _ = connection.await;
        }));
        configure(&client, &options, lock_timeout_ms).await?;
        let insert = client.prepare(INSERT).await.map_err(refused)?;
        let select = client.prepare(SELECT).await.map_err(refused)?;
        Ok(Self {
            lock_timeout_ms,
            client,
            insert,
            select,
            doubtful: AtomicBool::new(false),
            _driver: driver,
            options,
        })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.doubtful.load(Ordering::Relaxed)
    }

    /// One check. The statements are two transactions: the second one must see what was
    /// committed while the first one waited.
    pub(super) async fn decide(&self, id: Uuid, producer_group: &str) -> Result<Answer, Undecided> {
        let inserted = self
            .client
            .execute(&self.insert, &[&id, &producer_group])
            .await
            .map_err(|error| self.failure(&error))?;
        if inserted > 0 {
            return Ok(Answer::Rollback);
        }
        let row = self
            .client
            .query_opt(&self.select, &[&id])
            .await
            .map_err(|error| self.failure(&error))?;
        let (decision, payload) = match row {
            Some(row) => {
                let decision: String = row.try_get(0).map_err(|error| self.failure(&error))?;
                let payload: Option<Vec<u8>> =
                    row.try_get(1).map_err(|error| self.failure(&error))?;
                (decision, payload)
            }
            None => ("a row that is gone again".to_owned(), None),
        };
        match decision.as_str() {
            "commit" => Ok(Answer::Commit {
                payload: payload.map(Bytes::from),
            }),
            "rollback" => Ok(Answer::Rollback),
            _ => Err(Undecided::BadDecision {
                database: self.options.database.clone(),
                transaction_id: id,
                value: decision,
            }),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn failure(&self, error: &tokio_postgres::Error) -> Undecided {
        let failure = failure::on_statement(&self.options, self.lock_timeout_ms, error);
        // A missing table or a server that became read-only may be mended later on, but a
        // prepared statement, or this connection, may never notice.
        if !failure::is_passing(&failure) {
            self.doubtful.store(true, Ordering::Relaxed);
        }
        failure
    }
}

/// Drives the connection; ends with the session, or when establishing it is given up.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Settings for this connection alone, and the question whether this is the primary: a
/// standby may call itself writable while it is being promoted.
async fn configure(
    client: &Client,
    options: &PostgresOptions,
    lock_timeout_ms: u64,
) -> Result<(), Undecided> {
    // A rollback that the database forgets after a crash would not be definite, so a
    // weaker default is raised; a stronger one stays.
    let settings = format!(
        "SET lock_timeout = {lock_timeout_ms}; \
         SET statement_timeout = {statement_timeout_ms}; \
         SET default_transaction_isolation = 'read committed'; \
         SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
         SELECT pg_is_in_recovery()",
        statement_timeout_ms = options.statement_timeout_ms,
    );
    let answers = client
        .simple_query(&settings)
        .await
        .map_err(|error| failure::on_connect(&options.database, &error))?;
    let in_recovery = answers.iter().rev().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    if in_recovery == Some("f") {
        Ok(())
    } else {
        Err(Undecided::NotPrimary {
            database: options.database.clone(),
        })
    }
}
