use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use outrigger_proto::v1::{
    self, AckRequest, AckResponse, ConsumeRequest, ConsumeResponse, ExtendRequest, ExtendResponse,
    GuardAcquireRequest, GuardAcquireResponse, GuardCompleteRequest, GuardExtendRequest,
    GuardHoldResponse, GuardIncrementRequest, GuardIncrementResponse, GuardReleaseRequest,
    NackRequest, NackResponse, ReceiveRequest, ReceiveResponse, consumer_server::Consumer,
    guard_acquire_response::Outcome, guard_server::Guard,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Delivers numbered messages against credits, and keeps what comes back.
#[derive(Clone, Default)]
pub struct FakeConsumer {
    pub state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// Numbers of the messages that wait for delivery.
    pub waiting: BTreeSet<u64>,
    /// Delivered and neither acked nor nacked.
    pub leased: BTreeSet<u64>,
    pub leased_max: usize,
    pub acked: BTreeSet<u64>,
    pub acks_received: usize,
    /// With the wait that was asked for.
    pub nacked: Vec<(u64, Option<u64>)>,
    pub extended: BTreeMap<u64, usize>,
    pub requests: usize,
    pub streams: usize,
    /// Every stream breaks after so many requests; the last one is applied, its result lost.
    pub break_after: Option<usize>,
    /// So many acks and nacks are refused for now before one is taken.
    pub refuse: usize,
    pub guards: BTreeMap<String, bool>,
}

fn receipt(number: u64) -> Bytes {
    number.to_string().into()
}

fn number(receipt: &Bytes) -> u64 {
    std::str::from_utf8(receipt).unwrap().parse().unwrap()
}

impl FakeConsumer {
    pub fn with_messages(count: u64) -> Self {
        let fake = Self::default();
        fake.state.lock().unwrap().waiting = (0..count).collect();
        fake
    }
}

impl State {
    fn apply(&mut self, request: &ConsumeRequest) -> Vec<v1::ReceiptError> {
        let mut errors = Vec::new();
        for receipt in &request.acks {
            if self.refuses(receipt, &mut errors) {
                continue;
            }
            self.acks_received += 1;
            self.acked.insert(number(receipt));
            self.leased.remove(&number(receipt));
        }
        for nack in &request.nacks {
            if self.refuses(&nack.receipt, &mut errors) {
                continue;
            }
            let number = number(&nack.receipt);
            self.nacked.push((number, nack.delay_ms));
            if self.leased.remove(&number) {
                self.waiting.insert(number);
            }
        }
        for extend in &request.extends {
            *self.extended.entry(number(&extend.receipt)).or_default() += 1;
        }
        errors
    }

    fn refuses(&mut self, receipt: &Bytes, errors: &mut Vec<v1::ReceiptError>) -> bool {
        if self.refuse == 0 {
            return false;
        }
        self.refuse -= 1;
        errors.push(v1::ReceiptError {
            receipt: receipt.clone(),
            error: Some(v1::Error {
                code: tonic::Code::ResourceExhausted as u32,
                reason: "DISK_FULL".to_owned(),
                ..v1::Error::default()
            }),
        });
        true
    }

    fn deliver(&mut self, credits: &mut u32) -> Vec<v1::Delivery> {
        let mut deliveries = Vec::new();
        while *credits > 0 {
            let Some(number) = self.waiting.pop_first() else {
                break;
            };
            *credits -= 1;
            self.leased.insert(number);
            deliveries.push(v1::Delivery {
                message: Some(v1::Message {
                    topic: "orders".to_owned(),
                    message_id: format!("message-{number}"),
                    body: number.to_string().into(),
                    ..v1::Message::default()
                }),
                offset: number,
                attempt: 1,
                receipt: receipt(number),
                ..v1::Delivery::default()
            });
        }
        self.leased_max = self.leased_max.max(self.leased.len());
        deliveries
    }
}

#[tonic::async_trait]
impl Consumer for FakeConsumer {
    type ConsumeStream = Pin<Box<dyn Stream<Item = Result<ConsumeResponse, Status>> + Send>>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap();
        let subscribe = first.subscribe.clone().unwrap();
        if subscribe.consumer_group == "bad%%" {
            return Err(Status::invalid_argument("consumer_group"));
        }
        self.state.lock().unwrap().streams += 1;
        let state = Arc::clone(&self.state);
        let (responses, outbound) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut credits = first.credits;
            let mut seen = 0;
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            loop {
                let mut results = Vec::new();
                tokio::select! {
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        seen += 1;
                        let mut state = state.lock().unwrap();
                        state.requests += 1;
                        let errors = state.apply(&request);
                        if state.break_after.is_some_and(|limit| seen >= limit) {
                            // What was leased on this stream comes again.
                            let leased = std::mem::take(&mut state.leased);
                            state.waiting.extend(leased);
                            drop(state);
                            let _ = responses.try_send(Err(Status::unavailable("broken")));
                            return;
                        }
                        credits += request.credits;
                        results.push(v1::ConsumeResult {
                            request_id: request.request_id,
                            errors,
                        });
                    }
                    _ = ticks.tick() => {}
                }
                let deliveries = state.lock().unwrap().deliver(&mut credits);
                if results.is_empty() && deliveries.is_empty() {
                    continue;
                }
                let response = ConsumeResponse {
                    deliveries,
                    results,
                };
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    async fn receive(
        &self,
        _: Request<ReceiveRequest>,
    ) -> Result<Response<ReceiveResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    async fn ack(&self, _: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    async fn nack(&self, _: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }

    async fn extend(&self, _: Request<ExtendRequest>) -> Result<Response<ExtendResponse>, Status> {
        Err(Status::unimplemented("the SDK does not use it"))
    }
}

/// `true` means done; keys that are not there are free.
#[tonic::async_trait]
impl Guard for FakeConsumer {
    async fn acquire(
        &self,
        request: Request<GuardAcquireRequest>,
    ) -> Result<Response<GuardAcquireResponse>, Status> {
        let key = request.into_inner().guard.unwrap().key;
        let mut state = self.state.lock().unwrap();
        let outcome = match state.guards.get(&key) {
            Some(true) => Outcome::Done(v1::GuardDone::default()),
            Some(false) => Outcome::Busy(v1::GuardBusy { retry_after_ms: 7 }),
            None => {
                state.guards.insert(key, false);
                Outcome::Acquired(v1::GuardAcquired {
                    fencing: 3,
                    takeover: false,
                })
            }
        };
        Ok(Response::new(GuardAcquireResponse {
            outcome: Some(outcome),
        }))
    }

    async fn extend(
        &self,
        _: Request<GuardExtendRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        Ok(Response::new(GuardHoldResponse { held: true }))
    }

    async fn complete(
        &self,
        request: Request<GuardCompleteRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let key = request.into_inner().guard.unwrap().key;
        self.state.lock().unwrap().guards.insert(key, true);
        Ok(Response::new(GuardHoldResponse { held: true }))
    }

    async fn release(
        &self,
        request: Request<GuardReleaseRequest>,
    ) -> Result<Response<GuardHoldResponse>, Status> {
        let key = request.into_inner().guard.unwrap().key;
        self.state.lock().unwrap().guards.remove(&key);
        Ok(Response::new(GuardHoldResponse { held: true }))
    }

    async fn increment(
        &self,
        _: Request<GuardIncrementRequest>,
    ) -> Result<Response<GuardIncrementResponse>, Status> {
        Ok(Response::new(GuardIncrementResponse { count: 1 }))
    }
}
