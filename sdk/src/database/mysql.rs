use sqlx::{MySql, MySqlConnection, Pool, Transaction, mysql::MySqlDatabaseError};
use uuid::Uuid;

use super::{FenceRow, LocalDatabase, barrier::barrier_dialect, sealed::Dialect};

const INSERT_COMMIT: &str =
    "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?, 'commit', ?)";
const INSERT_ROLLBACK: &str =
    "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?, 'rollback', ?)";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = ?";
const HOLDS_FENCE: &str =
    "SELECT 1 FROM outrigger_transaction WHERE id = ? AND decision = 'commit'";
const HOLDS_INBOX: &str = "SELECT 1 FROM outrigger_inbox WHERE consumer = ? AND message_id = ?";
const WRITE_PAYLOAD: &str = "UPDATE outrigger_transaction SET payload = ? WHERE id = ?";
const INSERT_INBOX: &str = "INSERT INTO outrigger_inbox (consumer, message_id) VALUES (?, ?)";

/// How long the insert of a decision waits for a local transaction that is running, in
/// seconds; the smallest that there is.
const DECIDE_SESSION: &str = "SET SESSION innodb_lock_wait_timeout = 1, autocommit = 1; \
                              SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Another transaction has the lock, for longer than this one may wait.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
/// MariaDB under snapshot isolation: the row has changed since the snapshot.
const RECORD_CHANGED: u16 = 1020;

impl LocalDatabase for MySql {}

impl Dialect for MySql {
    async fn begin(pool: &Pool<Self>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        pool.begin().await
    }

    async fn insert_commit(
        connection: &mut MySqlConnection,
        id: Uuid,
        producer_group: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(INSERT_COMMIT)
            .bind(id.to_string())
            .bind(producer_group)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn write_payload(
        connection: &mut MySqlConnection,
        id: Uuid,
        payload: &[u8],
    ) -> Result<(), sqlx::Error> {
        sqlx::query(WRITE_PAYLOAD)
            .bind(payload)
            .bind(id.to_string())
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn holds_fence(connection: &mut MySqlConnection, id: Uuid) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(HOLDS_FENCE)
            .bind(id.to_string())
            .fetch_optional(connection);
        Ok(row.await?.is_some())
    }

    async fn decide(
        pool: &Pool<Self>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<FenceRow, sqlx::Error> {
        let mut pooled = pool.acquire().await?;
        // Its settings are not those that the application expects of a connection.
        pooled.close_on_drop();
        let connection: &mut MySqlConnection = &mut pooled;
        sqlx::raw_sql(DECIDE_SESSION)
            .execute(&mut *connection)
            .await?;
        let inserted = sqlx::query(INSERT_ROLLBACK)
            .bind(id.to_string())
            .bind(producer_group)
            .execute(&mut *connection)
            .await;
        match inserted {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
            Err(error) => return Err(error),
        }
        let row = sqlx::query_as(SELECT)
            .bind(id.to_string())
            .fetch_one(&mut *connection)
            .await?;
        Ok(row)
    }

    async fn insert_inbox(
        connection: &mut MySqlConnection,
        consumer: &str,
        message_id: &str,
    ) -> Result<bool, sqlx::Error> {
        // Not INSERT IGNORE, which would also cut off what is too long.
        let inserted = sqlx::query(INSERT_INBOX)
            .bind(consumer)
            .bind(message_id)
            .execute(connection)
            .await;
        match inserted {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn holds_inbox(
        connection: &mut MySqlConnection,
        consumer: &str,
        message_id: &str,
    ) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(HOLDS_INBOX)
            .bind(consumer)
            .bind(message_id)
            .fetch_optional(connection);
        Ok(row.await?.is_some())
    }

    /// Only what InnoDB says of a transaction that it has rolled back, or that is still
    /// open: any other answer may come from a server that goes away after the commit.
    fn is_certainly_not_committed(error: &sqlx::Error) -> bool {
        number(error).is_some_and(|number| matches!(number, LOCK_WAIT_TIMEOUT | DEADLOCK))
    }
}

// The plain insert meets a committed row with error 1062, having waited for whoever holds
// it, and keeps a shared lock on it. An insert that ignores duplicates would ignore other
// mistakes too, and the number of rows does not tell one that updates nothing apart.
barrier_dialect!(MySql {
    insert: "INSERT INTO outrigger_barrier (saga_id, step, phase, outcome, attempt, output) \
             VALUES (?, ?, ?, ?, ?, ?)",
    // A read that locks sees what is committed, whatever the isolation level.
    read: "SELECT outcome, attempt, output FROM outrigger_barrier \
           WHERE saga_id = ? AND step = ? AND phase = ? LOCK IN SHARE MODE",
    replace_refusal: "UPDATE outrigger_barrier SET outcome = ?, attempt = ?, output = ? \
                      WHERE saga_id = ? AND step = ? AND phase = ? \
                      AND outcome = 'refused' AND attempt < ?",
    write_output: "UPDATE outrigger_barrier SET output = ? \
                   WHERE saga_id = ? AND step = ? AND phase = ?",
    collect: "DELETE FROM outrigger_barrier \
              WHERE created_at < UTC_TIMESTAMP(3) - INTERVAL ? * 1000 MICROSECOND \
              ORDER BY created_at, saga_id, step, phase LIMIT ?",
    is_conflict: |error| number(error)
        .is_some_and(|number| { matches!(number, LOCK_WAIT_TIMEOUT | DEADLOCK | RECORD_CHANGED) }),
});

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<MySqlDatabaseError>()?.number())
}
