use sqlx::{Pool, Sqlite, SqliteConnection, Transaction};
use uuid::Uuid;

use super::{FenceRow, LocalDatabase, sealed::Dialect};

const INSERT_COMMIT: &str =
    "INSERT INTO outrigger_transaction (id, decision, producer_group) VALUES (?1, 'commit', ?2)";
const INSERT_ROLLBACK: &str = "INSERT OR IGNORE INTO outrigger_transaction (id, decision, producer_group) VALUES (?1, 'rollback', ?2)";
const SELECT: &str = "SELECT decision, payload FROM outrigger_transaction WHERE id = ?1";
const WRITE_PAYLOAD: &str = "UPDATE outrigger_transaction SET payload = ?2 WHERE id = ?1";
const INSERT_INBOX: &str =
    "INSERT OR IGNORE INTO outrigger_inbox (consumer, message_id) VALUES (?1, ?2)";

/// A deferred transaction that begins to write after another one has written is refused at
/// once, without waiting for the busy timeout; an immediate one waits for its turn.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The low byte of SQLite's extended result codes.
const BUSY: i32 = 5;
const CONSTRAINT: i32 = 19;

impl LocalDatabase for Sqlite {}

impl Dialect for Sqlite {
    async fn begin(pool: &Pool<Self>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        pool.begin_with(BEGIN).await
    }

    async fn insert_commit(
        connection: &mut SqliteConnection,
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
        connection: &mut SqliteConnection,
        id: Uuid,
        payload: &[u8],
    ) -> Result<(), sqlx::Error> {
        sqlx::query(WRITE_PAYLOAD)
            .bind(id.to_string())
            .bind(payload)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn decide(
        pool: &Pool<Self>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<FenceRow, sqlx::Error> {
        let mut transaction = pool.begin_with(BEGIN).await?;
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

    async fn insert_inbox(
        connection: &mut SqliteConnection,
        consumer: &str,
        message_id: &str,
    ) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(INSERT_INBOX)
            .bind(consumer)
            .bind(message_id)
            .execute(connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    fn is_certainly_not_committed(error: &sqlx::Error) -> bool {
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse::<i32>().ok());
        match code {
            // The transaction is still open and is rolled back when it is dropped.
            Some(code) => matches!(code & 0xff, BUSY | CONSTRAINT),
            None => false,
        }
    }
}
