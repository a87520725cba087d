use sqlx::{Pool, Postgres, Transaction};
use uuid::Uuid;

use super::{
    FenceRow, LocalDatabase, barrier::barrier_dialect, sealed::Dialect, statements::statements,
};

const INSERT_ROLLBACK: &str = "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES ($1::uuid, 'rollback', $2) ON CONFLICT DO NOTHING";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = $1::uuid";

/// Under a stricter level the insert of a decision would fail, instead of seeing that
/// somebody else was first.
const BEGIN_DECIDE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// A rollback that the database forgets after a crash would not be definite, so a weaker
/// default is raised; a stronger one stays.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', true) \
                       WHERE current_setting('synchronous_commit') IN ('off', 'local')";
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '2s'";

impl LocalDatabase for Postgres {}

impl Dialect for Postgres {
    statements! {
        insert_commit: "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES ($1::uuid, 'commit', $2)",
        write_payload: "UPDATE outrigger_transaction SET payload = $1 WHERE id = $2::uuid",
        holds_fence: "SELECT 1 FROM outrigger_transaction WHERE id = $1::uuid AND decision = 'commit'",
        insert_inbox: "INSERT INTO outrigger_inbox (consumer, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        holds_inbox: "SELECT 1 FROM outrigger_inbox WHERE consumer = $1 AND message_id = $2",
    }

    async fn begin(pool: &Pool<Self>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        super::begin(pool, None).await
    }

    async fn decide(
        pool: &Pool<Self>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<FenceRow, sqlx::Error> {
        let mut transaction = super::begin(pool, Some(BEGIN_DECIDE)).await?;
        sqlx::query(DURABLE).execute(&mut *transaction).await?;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
        sqlx::query(STATEMENT_TIMEOUT)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(INSERT_ROLLBACK)
            .bind(id.to_string())
            .bind(producer_group)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        // A statement of its own, so that its snapshot contains whatever the insert met.
        sqlx::query_as(SELECT)
            .bind(id.to_string())
            .fetch_one(pool)
            .await
    }

    /// An answer of the server to COMMIT means that it did not commit, except where it only
    /// says that the connection or the server is going away: connection exceptions (08),
    /// statement completion unknown (40003), operator intervention (57, which includes
    /// giving up the wait for a standby after the local commit), system and internal errors
    /// (58, XX).
    fn is_certainly_not_committed(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some("40003") => false,
            Some(code) => !["08", "57", "58", "XX"]
                .iter()
                .any(|class| code.starts_with(class)),
            None => false,
        }
    }
}

// Under READ COMMITTED each statement sees what was committed before it began, so the read
// sees the row that the insert has met. Under a stricter level the insert fails with 40001
// when it meets a row that the snapshot does not have.
barrier_dialect!(Postgres {
    insert: "INSERT INTO outrigger_barrier (saga_id, step, phase, outcome, attempt, output) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    read: "SELECT outcome, attempt, output FROM outrigger_barrier \
           WHERE saga_id = $1 AND step = $2 AND phase = $3",
    replace_refusal: "UPDATE outrigger_barrier SET outcome = $1, attempt = $2, output = $3 \
                      WHERE saga_id = $4 AND step = $5 AND phase = $6 \
                      AND outcome = 'refused' AND attempt < $7",
    write_output: "UPDATE outrigger_barrier SET output = $1 \
                   WHERE saga_id = $2 AND step = $3 AND phase = $4",
    collect: "DELETE FROM outrigger_barrier WHERE ctid = ANY (ARRAY( \
                  SELECT ctid FROM outrigger_barrier \
                  WHERE created_at < now() - $1 * interval '1 millisecond' \
                  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
    is_conflict: |error| {
        let code = error.as_database_error().and_then(|error| error.code());
        // Serialisation failure, deadlock, lock not available in time.
        matches!(code.as_deref(), Some("40001" | "40P01" | "55P03"))
    },
});
