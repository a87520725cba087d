use sqlx::{Pool, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    FenceRow, LocalDatabase, barrier::barrier_dialect, sealed::Dialect, statements::statements,
};

const INSERT_ROLLBACK: &str = "INSERT OR IGNORE INTO outrigger_transaction (id, decision, producer_group) VALUES (?1, 'rollback', ?2)";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = ?1";

/// A deferred transaction that begins to write after another one has written is refused at
/// once, without waiting for the busy timeout; an immediate one waits for its turn.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The low byte of SQLite's extended result codes.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const CONSTRAINT: i32 = 19;

impl LocalDatabase for Sqlite {}

impl Dialect for Sqlite {
    statements! {
        insert_commit: "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?1, 'commit', ?2)",
        write_payload: "UPDATE outrigger_transaction SET payload = ?1 WHERE id = ?2",
        holds_fence: "SELECT 1 FROM outrigger_transaction WHERE id = ?1 AND decision = 'commit'",
        insert_inbox: "INSERT OR IGNORE INTO outrigger_inbox (consumer, message_id) VALUES (?1, ?2)",
        holds_inbox: "SELECT 1 FROM outrigger_inbox WHERE consumer = ?1 AND message_id = ?2",
    }

    async fn begin(pool: &Pool<Self>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        super::begin(pool, Some(BEGIN)).await
    }

    async fn decide(
        pool: &Pool<Self>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<FenceRow, sqlx::Error> {
        let mut transaction = super::begin(pool, Some(BEGIN)).await?;
        sqlx::query(INSERT_ROLLBACK)
            .bind(id.to_string())
            .bind(producer_group)
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query_as(SELECT)
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(row)
    }

    fn is_certainly_not_committed(error: &sqlx::Error) -> bool {
        // The transaction is still open and is rolled back when it is dropped.
        primary_code(error).is_some_and(|code| matches!(code, BUSY | CONSTRAINT))
    }
}

// There is one writer at a time, from the beginning of its transaction to the end.
barrier_dialect!(Sqlite {
    insert: "INSERT INTO outrigger_barrier (saga_id, step, phase, outcome, attempt, output) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    read: "SELECT outcome, attempt, output FROM outrigger_barrier \
           WHERE saga_id = ?1 AND step = ?2 AND phase = ?3",
    replace_refusal: "UPDATE outrigger_barrier SET outcome = ?1, attempt = ?2, output = ?3 \
                      WHERE saga_id = ?4 AND step = ?5 AND phase = ?6 \
                      AND outcome = 'refused' AND attempt < ?7",
    write_output: "UPDATE outrigger_barrier SET output = ?1 \
                   WHERE saga_id = ?2 AND step = ?3 AND phase = ?4",
    collect: "DELETE FROM outrigger_barrier WHERE (saga_id, step, phase) IN ( \
                  SELECT saga_id, step, phase FROM outrigger_barrier \
                  WHERE created_at < CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) - ?1 \
                  ORDER BY created_at LIMIT ?2)",
    is_conflict: |error| primary_code(error).is_some_and(|code| matches!(code, BUSY | LOCKED)),
});

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}
