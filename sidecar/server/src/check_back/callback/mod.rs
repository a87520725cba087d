//! Check-back by asking the application: every replica of a producer group may keep a
//! CheckBack stream open, and any of them may be asked about any of the group's
//! transactions.

mod asking;
mod options;
mod registry;
mod replica;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use outrigger_core::name;
use outrigger_proto::stored::{self, CheckBackRequest, CheckBackResponse};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Answer, Undecided};
use crate::edge::status::Failure;
use asking::Asking;
pub use options::CallbackOptions;
use registry::Registry;
use replica::Replica;

/// What a replica is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The local transaction.
    pub transaction_id: Uuid,
    /// When it was prepared.
    pub prepared_at_ms: u64,
    /// How often it has been asked about since this sidecar started, this time included.
    pub attempt: u32,
    /// The prepared messages, without their bodies.
    pub messages: Vec<stored::Message>,
}

/// Where the CheckBack streams of all producer groups end; cheap to clone.
#[derive(Clone)]
pub struct CallbackHub {
    shared: Arc<Shared>,
}

struct Shared {
    options: CallbackOptions,
    registry: Registry,
    next_replica_id: AtomicU64,
    closing: CancellationToken,
}

impl CallbackHub {
    /// Nobody is connected.
    pub fn new(options: CallbackOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                registry: Registry::default(),
                next_replica_id: AtomicU64::new(0),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// Serves one CheckBack stream: takes the replica's requests and gives the questions
    /// to send it. Both end together.
    ///
    /// # Errors
    ///
    /// When the first request does not come or does not name a producer group, or the
    /// group has too many replicas connected.
    pub async fn connect<S>(
        &self,
        requests: S,
    ) -> Result<impl Stream<Item = Result<CheckBackResponse, Status>> + Send + use<S>, Failure>
    where
        S: Stream<Item = Result<CheckBackRequest, Status>> + Send + Unpin + 'static,
    {
        let mut requests = requests;
        let producer_group = self.registration(&mut requests).await?;
        let options = &self.shared.options;
        let id = self.shared.next_replica_id.fetch_add(1, Ordering::Relaxed);
        let (replica, asked) = Replica::new(id, options.unanswered_questions_max);
        let replica = Arc::new(replica);
        let limit = options.replicas_max;
        if !self
            .shared
            .registry
            .add(&producer_group, Arc::clone(&replica), limit)
        {
            return Err(Failure::new(
                Code::ResourceExhausted,
                "TOO_MANY_REPLICAS",
                format!("producer group {producer_group} has {limit} replicas connected"),
            )
            .with("field", "producer_group")
            .with("value", &producer_group)
            .with("limit", limit));
        }
        tracing::debug!(producer_group, replica = id, "check-back stream connected");
        let shared = Arc::clone(&self.shared);
        let batch_max = options.batch_questions_max;
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            shared.listen(requests, &replica).await;
            shared.registry.remove(&producer_group, &replica);
            replica.lost();
            tracing::debug!(producer_group, replica = id, "check-back stream ended");
            drop(end);
        });
        Ok(questions(asked, batch_max, ended))
    }

    /// Asks the replicas of a producer group how a transaction ended. A replica that is
    /// busy, gone or silent makes way for the next one.
    pub fn ask(
        &self,
        producer_group: &str,
        question: Question,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let replicas = self.shared.registry.in_turn(producer_group);
        let asking = Asking::new(
            self.shared.options.clone(),
            producer_group.to_owned(),
            question,
            replicas,
        );
        asking.run()
    }

    /// Ends all streams, so that a server that waits for its connections can stop.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    async fn registration<S>(&self, requests: &mut S) -> Result<String, Failure>
    where
        S: Stream<Item = Result<CheckBackRequest, Status>> + Unpin,
    {
        let limit = Duration::from_millis(self.shared.options.register_timeout_ms);
        let first = timeout(limit, requests.next()).await.ok().flatten();
        let Some(Ok(first)) = first else {
            return Err(Failure::new(
                Code::InvalidArgument,
                "REGISTRATION_MISSING",
                "the first request of a CheckBack stream names the producer group",
            )
            .with("field", "producer_group")
            .with("limit", format!("{} ms", limit.as_millis())));
        };
        name::check_group("producer_group", &first.producer_group)?;
        Ok(first.producer_group)
    }
}

impl Shared {
    /// Takes answers until the stream ends or the hub closes.
    async fn listen<S>(&self, mut requests: S, replica: &Replica)
    where
        S: Stream<Item = Result<CheckBackRequest, Status>> + Unpin,
    {
        let mut closing = pin!(self.closing.cancelled());
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                () = &mut closing => None,
            };
            let Some(Ok(request)) = request else { return };
            for answer in request.answers {
                match answer.transaction_id.parse() {
                    Ok(transaction_id) => replica.answered(transaction_id, answer),
                    // It was asked about something else; the question times out.
                    Err(error) => tracing::debug!(
                        replica = replica.id,
                        transaction_id = answer.transaction_id,
                        %error,
                        "a check-back answer names no transaction"
                    ),
                }
            }
        }
    }
}

/// Sends what is waiting together.
fn questions(
    asked: mpsc::Receiver<stored::CheckBackQuestion>,
    batch_max: usize,
    ended: CancellationToken,
) -> impl Stream<Item = Result<CheckBackResponse, Status>> + Send {
    stream::unfold((asked, ended), move |(mut asked, ended)| async move {
        let mut questions = Vec::new();
        let received = tokio::select! {
            received = asked.recv_many(&mut questions, batch_max.max(1)) => received,
            () = ended.cancelled() => 0,
        };
        (received > 0).then_some((Ok(CheckBackResponse { questions }), (asked, ended)))
    })
}

impl From<&Question> for stored::CheckBackQuestion {
    fn from(question: &Question) -> Self {
        Self {
            transaction_id: question.transaction_id.hyphenated().to_string(),
            prepared_at_ms: question.prepared_at_ms,
            attempt: question.attempt,
            messages: question.messages.clone(),
        }
    }
}
