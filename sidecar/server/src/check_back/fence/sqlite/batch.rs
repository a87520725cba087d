//! Several checks in one go.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteRow};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    super::{super::Undecided, Answer},
    failure,
    options::SqliteOptions,
};

// The ids travel as one JSON array, so that a batch is one statement of one shape.
const SELECT: &str = "SELECT id, decision, payload FROM outrigger_transaction \
                      WHERE id IN (SELECT value FROM json_each(?1))";
const INSERT: &str = "INSERT OR IGNORE INTO outrigger_transaction (id, decision, producer_group) \
                      SELECT value ->> 0, 'rollback', value ->> 1 FROM json_each(?1)";

/// One check that waits for its answer.
pub(super) struct Question {
    pub(super) id: Uuid,
    pub(super) producer_group: String,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Question {
    pub(super) fn answer(self, answer: impl Into<Answer>) {
        // Whoever asked may have stopped waiting.
        let _ = self.answer.send(answer.into());
    }
}

/// Answers and removes what can be decided. After an error the rest is undecided, and
/// what of it was written, if anything, stands.
pub(super) async fn decide(
    connection: &mut SqliteConnection,
    questions: &mut Vec<Question>,
    options: &SqliteOptions,
) -> Result<(), Undecided> {
    let failed = |error| failure::on_statement(options, &error);
    // A row that is there is committed, and a decision never changes.
    let decided = read(connection, questions).await.map_err(failed)?;
    answer(questions, decided, options);
    if questions.is_empty() {
        return Ok(());
    }
    let decided = insert_and_read(connection, questions)
        .await
        .map_err(failed)?;
    answer(questions, decided, options);
    for question in questions.drain(..) {
        let id = question.id;
        question.answer(bad_decision(options, id, "a row that could not be written"));
    }
    Ok(())
}

async fn insert_and_read(
    connection: &mut SqliteConnection,
    questions: &[Question],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let rows: Vec<(String, &str)> = questions
        .iter()
        .map(|question| {
            (
                question.id.hyphenated().to_string(),
                question.producer_group.as_str(),
            )
        })
        .collect();
    sqlx::query(INSERT)
        .bind(json(&rows))
        .execute(&mut *transaction)
        .await?;
    let decided = read(&mut transaction, questions).await?;
    // Only what is durable has been decided.
    transaction.commit().await?;
    Ok(decided)
}

async fn read(
    connection: &mut SqliteConnection,
    questions: &[Question],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let ids: Vec<String> = questions
        .iter()
        .map(|question| question.id.hyphenated().to_string())
        .collect();
    sqlx::query(SELECT)
        .bind(json(&ids))
        .fetch_all(connection)
        .await
}

/// Strings and pairs of strings: nothing in there that JSON could refuse.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Answers every question whose row is among those read.
fn answer(questions: &mut Vec<Question>, rows: Vec<SqliteRow>, options: &SqliteOptions) {
    let mut decided: BTreeMap<Uuid, SqliteRow> = rows
        .into_iter()
        .filter_map(|row| {
            let id: String = row.try_get(0).ok()?;
            Some((id.parse().ok()?, row))
        })
        .collect();
    // The same transaction may be asked about twice at once.
    let (answered, open): (Vec<_>, Vec<_>) = std::mem::take(questions)
        .into_iter()
        .partition(|question| decided.contains_key(&question.id));
    *questions = open;
    for question in answered {
        if let Some(row) = decided.get_mut(&question.id) {
            let answer = decision(row, question.id, options);
            question.answer(answer);
        }
    }
}

fn decision(row: &SqliteRow, id: Uuid, options: &SqliteOptions) -> Answer {
    let fields = row
        .try_get::<String, _>(1)
        .and_then(|decision| Ok((decision, row.try_get::<Option<Vec<u8>>, _>(2)?)));
    match fields {
        Ok((decision, payload)) => match decision.as_str() {
            "commit" => Answer::Commit {
                payload: payload.map(Bytes::from),
            },
            "rollback" => Answer::Rollback,
            other => bad_decision(options, id, other).into(),
        },
        Err(error) => bad_decision(options, id, &error.to_string()).into(),
    }
}

fn bad_decision(options: &SqliteOptions, id: Uuid, value: &str) -> Undecided {
    Undecided::BadDecision {
        database: options.database.clone(),
        transaction_id: id,
        value: value.to_owned(),
    }
}
