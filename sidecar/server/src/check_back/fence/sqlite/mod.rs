//! The fence on SQLite.

mod batch;
mod database;
mod failure;
mod options;
mod rows;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{super::Undecided, Answer, FenceChecker};
use batch::Question;
use database::Database;
pub use options::SqliteOptions;

/// Checks against one SQLite database file, over one connection.
///
/// Whatever waits while a check runs is asked together with the next ones: first a plain
/// read, which disturbs no writer and answers for every row that is there already, then
/// for the rest one short write transaction. SQLite has one writer at a time, so any
/// running local transaction makes the rest "unknown", not only its own.
///
/// The file must exist; a check never creates a database. When another file has taken its
/// place, such as a restored backup, the new one is opened.
pub struct SqliteFence {
    questions: mpsc::Sender<Question>,
    database: String,
}

impl SqliteFence {
    /// Opens the file on the first check. Must be called within a tokio runtime.
    pub fn new(options: SqliteOptions) -> Self {
        let (questions, waiting) = mpsc::channel(options.waiting_checks_max.max(1));
        let database = options.database.clone();
        tokio::spawn(run(Database::new(options), waiting));
        Self {
            questions,
            database,
        }
    }

    async fn ask(&self, id: Uuid, producer_group: &str) -> Result<Answer, Undecided> {
        let (answer, answered) = oneshot::channel();
        let question = Question {
            id,
            producer_group: producer_group.to_owned(),
            answer,
        };
        let lost = || Undecided::ConnectionLost {
            target: self.database.clone(),
        };
        self.questions.send(question).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())
    }
}

impl FenceChecker for SqliteFence {
    fn check<'a>(&'a self, transaction_id: Uuid, producer_group: &'a str) -> BoxFuture<'a, Answer> {
        self.ask(transaction_id, producer_group)
            .map(Answer::from)
            .boxed()
    }
}

/// Ends when the fence is dropped.
async fn run(mut database: Database, mut waiting: mpsc::Receiver<Question>) {
    let batch_max = database.options().batch_checks_max.max(1);
    let mut questions = Vec::with_capacity(batch_max);
    while waiting.recv_many(&mut questions, batch_max).await > 0 {
        database.answer(&mut questions).await;
    }
}
