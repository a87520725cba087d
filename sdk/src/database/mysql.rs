use sqlx::{MySql, MySqlConnection, Pool, Transaction, mysql::MySqlDatabaseError};
use uuid::Uuid;

use super::{
    FenceRow, LocalDatabase, barrier::barrier_dialect, sealed::Dialect, statements::statements,
};

const INSERT_ROLLBACK: &str =
    "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?, 'rollback', ?)";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = ?";

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
    statements! {
        insert_commit: "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?, 'commit', ?)",
        write_payload: "UPDATE outrigger_transaction SET payload = ? WHERE id = ?",
        holds_fence: "SELECT 1 FROM outrigger_transaction WHERE id = ? AND decision = 'commit'",
        // Not INSERT IGNORE, which would also cut off what is too long.
        insert_inbox: "INSERT INTO outrigger_inbox (consumer, message_id) VALUES (?, ?)",
        holds_inbox: "SELECT 1 FROM outrigger_inbox WHERE consumer = ? AND message_id = ?",
    }

    async fn begin(pool: &Pool<Self>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        super::begin(pool, None).await
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
