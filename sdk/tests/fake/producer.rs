use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::Stream;
use outrigger_proto::v1::{
    self, CheckBackRequest, CheckBackResponse, PrepareRequest, PrepareResponse, PublishRequest,
    PublishResponse, ResolveRequest, ResolveResponse, SendRequest, SendResponse,
    operation::Kind as Operation, outcome::Kind as Outcome, producer_server::Producer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// What happens to one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answer,
    AnswerLate,
    /// The connection breaks before the frame is stored.
    BreakBefore,
    /// The frame is stored, and its answer is lost.
    BreakAfter,
    /// The frame is stored, and no answer ever comes.
    Hang,
    /// The sidecar has forgotten every producer before this frame.
    Forget,
}

type Script = Box<dyn FnMut(usize) -> Fate + Send>;

/// Stores what it is sent, as the real one would, and answers as its script says.
#[derive(Clone)]
pub struct FakeProducer {
    pub store: Arc<Mutex<Store>>,
    script: Arc<Mutex<(usize, Script)>>,
}

#[derive(Default)]
pub struct Store {
    /// Bodies, in the order in which they were stored.
    pub stored: Vec<String>,
    pub prepared: BTreeMap<String, PrepareRequest>,
    pub resolved: BTreeMap<String, ResolveRequest>,
    /// The epoch and the last sequence of each producer.
    producers: BTreeMap<String, (u32, u64)>,
    pub frames: usize,
    pub streams: usize,
    pub epochs: Vec<u32>,
    /// Answers to check-backs.
    pub answers: Vec<v1::CheckBackAnswer>,
    /// Check-backs to ask.
    pub questions: Vec<v1::CheckBackQuestion>,
}

impl FakeProducer {
    /// `script` is called with the number of the frame, counted over all streams.
    pub fn new(script: impl FnMut(usize) -> Fate + Send + 'static) -> Self {
        Self {
            store: Arc::default(),
            script: Arc::new(Mutex::new((0, Box::new(script)))),
        }
    }

    pub fn reliable() -> Self {
        Self::new(|_| Fate::Answer)
    }

    fn next_fate(&self) -> Fate {
        let (count, script) = &mut *self.script.lock().unwrap();
        *count += 1;
        script(*count)
    }
}

impl Store {
    fn apply(&mut self, producer: &v1::ProducerIdentity, frame: PublishRequest) -> PublishResponse {
        self.frames += 1;
        let mut sequence = frame.first_sequence;
        let outcomes = frame.operations.into_iter().map(|operation| {
            let durability = operation.durability;
            let kind = match operation.kind.unwrap() {
                Operation::Send(message) => {
                    sequence += 1;
                    self.send(producer, sequence - 1, message, durability)
                }
                Operation::Prepare(_) if durability > v1::Durability::Synced.into() => {
                    refuse("ILLEGAL_DURABILITY")
                }
                Operation::Prepare(request) => self.prepare(request),
                Operation::Resolve(request) => self.resolve(request),
            };
            v1::Outcome { kind: Some(kind) }
        });
        PublishResponse {
            outcomes: outcomes.collect(),
        }
    }

    fn send(
        &mut self,
        by: &v1::ProducerIdentity,
        sequence: u64,
        message: v1::Message,
        durability: i32,
    ) -> Outcome {
        let (epoch, last) = self.producers.entry(by.producer_id.clone()).or_default();
        if by.epoch > *epoch {
            (*epoch, *last) = (by.epoch, 0);
            self.epochs.push(by.epoch);
        }
        if by.epoch < *epoch {
            return refuse("STALE_EPOCH");
        }
        if sequence <= *last {
            return Outcome::Sent(v1::SendReceipt {
                duplicate: true,
                ..v1::SendReceipt::default()
            });
        }
        if sequence != *last + 1 {
            return refuse("SEQUENCE_GAP");
        }
        *last = sequence;
        if message.topic == "forbidden" {
            return refuse("UNKNOWN_TOPIC");
        }
        self.stored
            .push(String::from_utf8(message.body.to_vec()).unwrap());
        Outcome::Sent(v1::SendReceipt {
            queue: 0,
            offset: self.stored.len() as u64 - 1,
            duplicate: false,
            // A topic whose level is the highest one.
            durability: durability.max(v1::Durability::Synced.into()),
        })
    }

    fn prepare(&mut self, request: PrepareRequest) -> Outcome {
        let id = request.transaction_id.clone();
        let before = self.prepared.insert(id, request.clone());
        if before.as_ref().is_some_and(|before| *before != request) {
            return refuse("TRANSACTION_CONTENT_DIFFERS");
        }
        Outcome::Prepared(PrepareResponse {
            repeated_call: before.is_some(),
        })
    }

    fn resolve(&mut self, request: ResolveRequest) -> Outcome {
        if !self.prepared.contains_key(&request.transaction_id) {
            return refuse("TRANSACTION_NOT_FOUND");
        }
        let before = self
            .resolved
            .insert(request.transaction_id.clone(), request);
        Outcome::Resolved(ResolveResponse {
            repeated_call: before.is_some(),
        })
    }
}

fn refuse(reason: &str) -> Outcome {
    Outcome::Error(v1::Error {
        code: Code::FailedPrecondition as u32,
        reason: reason.to_owned(),
        message: format!("refused with {reason}"),
        metadata: [("field".to_owned(), "topic".to_owned())].into(),
    })
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Producer for FakeProducer {
    type PublishStream = Answers<PublishResponse>;
    type CheckBackStream = Answers<CheckBackResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        self.store.lock().unwrap().streams += 1;
        let mut frames = request.into_inner();
        let (answers, outbound) = mpsc::channel(16);
        let fake = self.clone();
        tokio::spawn(async move {
            let mut producer = v1::ProducerIdentity::default();
            while let Ok(Some(mut frame)) = frames.message().await {
                if let Some(identity) = frame.producer.take() {
                    producer = identity;
                }
                let fate = fake.next_fate();
                if fate == Fate::BreakBefore {
                    let _ = answers
                        .send(Err(Status::unavailable("broken before")))
                        .await;
                    return;
                }
                if fate == Fate::Forget {
                    fake.store.lock().unwrap().producers.clear();
                }
                let answer = fake.store.lock().unwrap().apply(&producer, frame);
                match fate {
                    Fate::Hang => continue,
                    Fate::AnswerLate => tokio::time::sleep(Duration::from_millis(3)).await,
                    Fate::BreakAfter => {
                        let _ = answers.send(Err(Status::unavailable("broken after"))).await;
                        return;
                    }
                    Fate::Answer | Fate::Forget | Fate::BreakBefore => {}
                }
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    async fn check_back(
        &self,
        request: Request<Streaming<CheckBackRequest>>,
    ) -> Result<Response<Self::CheckBackStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap();
        if first.producer_group != "order-service" {
            return Err(Status::invalid_argument("producer_group"));
        }
        let questions = std::mem::take(&mut self.store.lock().unwrap().questions);
        let (responses, outbound) = mpsc::channel(16);
        let fake = self.clone();
        tokio::spawn(async move {
            let _ = responses.send(Ok(CheckBackResponse { questions })).await;
            while let Ok(Some(request)) = requests.message().await {
                fake.store.lock().unwrap().answers.extend(request.answers);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    async fn prepare(
        &self,
        _: Request<PrepareRequest>,
    ) -> Result<Response<PrepareResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    async fn resolve(
        &self,
        _: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    async fn send(&self, _: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }
}
