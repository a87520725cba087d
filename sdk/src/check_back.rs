//! Answering check-backs in `callback` mode: the sidecar asks how local transactions ended,
//! and the application answers from its own database.
//!
//! Only for databases that the sidecar cannot reach itself; where it can, configure its
//! `table` mode and forget about this.

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use outrigger_proto::v1::{self, producer_client::ProducerClient};
use sqlx::Pool;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use crate::{Producer, Refusal, Verdict, database::LocalDatabase, fence, reconnect::Reconnect};

/// Questions that are worked on at a time. More wait in the sidecar.
const QUESTIONS_MAX: usize = 64;
/// Answers on their way to the connection.
const ANSWERS_MAX: usize = 64;

/// The sidecar's question how a local transaction ended.
#[derive(Debug, Clone)]
pub struct Question {
    /// The transaction.
    pub id: Uuid,
    /// The group that prepared it.
    pub producer_group: String,
    /// When it was prepared, in milliseconds since the Unix epoch.
    pub prepared_at_ms: u64,
    /// How often it has been asked about since the sidecar started, this time included.
    pub attempt: u32,
    /// Topic and id of each prepared message.
    pub messages: Vec<(String, String)>,
}

/// The answer to a [`Question`]. A [`Verdict`] alone is one, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the local transaction ended. [`Verdict::Unknown`] asks to be asked again.
    pub verdict: Verdict,
    /// The body for the messages that take theirs from the fence.
    pub payload: Option<Bytes>,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            payload: None,
        }
    }
}

impl From<fence::Decision> for Answer {
    fn from(decision: fence::Decision) -> Self {
        Self {
            verdict: decision.verdict,
            payload: decision.payload,
        }
    }
}

/// Answers a question from the application's own fence, for good: see [`fence::decide`].
/// When the database cannot tell now, the answer is [`Verdict::Unknown`].
pub async fn from_fence<DB: LocalDatabase>(pool: &Pool<DB>, question: &Question) -> Answer {
    match fence::decide(pool, question.id, &question.producer_group).await {
        Ok(decision) => decision.into(),
        Err(error) => {
            tracing::debug!(id = %question.id, %error, "the fence could not be read");
            Verdict::Unknown.into()
        }
    }
}

impl Producer {
    /// Answers the sidecar's questions about this producer group until the future is
    /// dropped; reconnects by itself. Returns only when the sidecar refuses for good, for
    /// example because the name of the group is illegal.
    ///
    /// Several questions are answered at a time. A handler must **never** answer
    /// [`Verdict::Rollback`] only because it finds nothing: the local transaction may still
    /// be running. [`from_fence`] does it right.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # async fn example(producer: outrigger_sdk::Producer, pool: sqlx::SqlitePool) {
    /// use outrigger_sdk::check_back;
    ///
    /// let answering = producer.answer_check_backs(async |question| {
    ///     check_back::from_fence(&pool, &question).await
    /// });
    /// let refusal = answering.await;
    /// # }
    /// ```
    pub async fn answer_check_backs<F, Fut>(&self, answer: F) -> Refusal
    where
        F: Fn(Question) -> Fut,
        Fut: Future<Output: Into<Answer>>,
    {
        let mut reconnect = Reconnect::new();
        loop {
            if let Err(refusal) = self.answer_stream(&answer, &mut reconnect).await {
                tracing::debug!(%refusal, "the CheckBack stream broke");
                if is_final(&refusal) {
                    return refusal;
                }
            }
            reconnect.wait().await;
        }
    }

    async fn answer_stream<F, Fut>(
        &self,
        answer: &F,
        reconnect: &mut Reconnect,
    ) -> Result<(), Refusal>
    where
        F: Fn(Question) -> Fut,
        Fut: Future<Output: Into<Answer>>,
    {
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        let register = v1::CheckBackRequest {
            producer_group: self.producer_group().to_owned(),
            answers: Vec::new(),
        };
        // The channel is new, so there is room.
        let _ = answers.send(register).await;
        // A question names every message of a transaction: one that could not be read would
        // break the stream for all others as well, again and again.
        let mut client =
            ProducerClient::new(self.client().channel()).max_decoding_message_size(usize::MAX);
        let mut questions = client
            .check_back(ReceiverStream::new(outbound))
            .await?
            .into_inner();

        let mut working = FuturesUnordered::new();
        loop {
            let may_take = working.len() < QUESTIONS_MAX;
            tokio::select! {
                response = questions.message(), if may_take => {
                    let Some(response) = response? else {
                        return Ok(());
                    };
                    reconnect.succeeded();
                    for question in response.questions {
                        if let Some(question) = read(question, self.producer_group()) {
                            working.push(to_wire(question.id, answer(question)));
                        }
                    }
                }
                Some(done) = working.next() => {
                    let request = v1::CheckBackRequest {
                        producer_group: String::new(),
                        answers: vec![done],
                    };
                    if answers.send(request).await.is_err() {
                        // The connection is gone.
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// A question whose id is not a UUID was never ours.
fn read(question: v1::CheckBackQuestion, producer_group: &str) -> Option<Question> {
    Some(Question {
        id: Uuid::parse_str(&question.transaction_id).ok()?,
        producer_group: producer_group.to_owned(),
        prepared_at_ms: question.prepared_at_ms,
        attempt: question.attempt,
        messages: question
            .messages
            .into_iter()
            .map(|message| (message.topic, message.message_id))
            .collect(),
    })
}

async fn to_wire<A: Into<Answer>>(
    id: Uuid,
    answer: impl Future<Output = A>,
) -> v1::CheckBackAnswer {
    let Answer { verdict, payload } = answer.await.into();
    v1::CheckBackAnswer {
        transaction_id: id.to_string(),
        verdict: v1::Verdict::from(verdict).into(),
        payload,
    }
}

fn is_final(refusal: &Refusal) -> bool {
    match refusal.code {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
