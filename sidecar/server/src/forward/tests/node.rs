use std::{
    collections::BTreeMap,
    net::TcpListener,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};
use outrigger_proto::v1::{
    self,
    operation::Kind,
    producer_server::{Producer, ProducerServer},
};
use tokio::{runtime::Runtime, sync::watch};
use tonic::{
    Code, Request, Response, Status, Streaming,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    edge::status::Failure,
    forward::{ForwardLayer, Forwarder, Options, Target},
};

/// What the nodes of a cluster have stored, whoever of them leads.
#[derive(Clone, Default)]
pub(super) struct Stored(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    topics: Vec<String>,
    sequences: BTreeMap<String, u64>,
}

impl Stored {
    pub(super) fn topics(&self) -> Vec<String> {
        self.lock().topics.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, topic: &str) {
        self.lock().topics.push(topic.to_owned());
    }

    /// False when it was there already.
    fn add_once(&self, producer: &str, sequence: u64, topic: &str) -> bool {
        let mut store = self.lock();
        let high = store.sequences.entry(producer.to_owned()).or_default();
        assert!(sequence <= *high + 1, "a gap before {sequence} of {topic}");
        if sequence <= *high {
            return false;
        }
        *high = sequence;
        store.topics.push(topic.to_owned());
        true
    }
}

/// What a node does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Lead,
    /// Stores, and never answers.
    StoreInSilence,
    /// Takes nothing, and says so.
    NotLeader,
    /// Stores, and says that it does not know.
    OutcomeUnknown,
}

/// A node on a port of its own, with a runtime of its own that dies with all connections.
pub(super) struct Node {
    runtime: Option<Runtime>,
    edge: String,
    service: Service,
}

#[derive(Clone)]
struct Service {
    behaviour: Arc<watch::Sender<Behaviour>>,
    asked: Arc<watch::Sender<usize>>,
    /// The data groups that Prepares have named.
    named: Arc<Mutex<Vec<String>>>,
    stored: Stored,
}

impl Node {
    pub(super) fn start(stored: &Stored, behaviour: Behaviour) -> Self {
        Self::build(stored, behaviour, None)
    }

    /// A node that passes everything to where it takes the leader to be.
    pub(super) fn start_following(stored: &Stored, leader: watch::Receiver<Target>) -> Self {
        Self::build(stored, Behaviour::Lead, Some(leader))
    }

    fn build(
        stored: &Stored,
        behaviour: Behaviour,
        leader: Option<watch::Receiver<Target>>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let edge = listener.local_addr().expect("bound").to_string();
        let service = Service {
            behaviour: Arc::new(watch::channel(behaviour).0),
            asked: Arc::new(watch::channel(0).0),
            named: Arc::default(),
            stored: stored.clone(),
        };
        let routes = Routes::new(ProducerServer::new(service.clone()));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let incoming = TcpIncoming::from(listener);
            match leader {
                None => {
                    Server::builder()
                        .serve_with_incoming(routes, incoming)
                        .await
                }
                Some(leader) => {
                    let forwarder = Forwarder::new(leader, Options::default());
                    Server::builder()
                        .layer(ForwardLayer::new(forwarder))
                        .serve_with_incoming(routes, incoming)
                        .await
                }
            }
            .expect("it serves until it is dropped");
        });
        Self {
            runtime: Some(runtime),
            edge,
            service,
        }
    }

    pub(super) fn target(&self) -> Target {
        Target::At(self.edge.clone())
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.service.behaviour.send_replace(behaviour);
    }

    /// How many calls and requests have arrived.
    pub(super) fn asked(&self) -> usize {
        *self.service.asked.borrow()
    }

    /// The data groups that Prepares have named.
    pub(super) fn named(&self) -> Vec<String> {
        let named = self.service.named.lock();
        named.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn was_asked(&self, times: usize) {
        let mut asked = self.service.asked.subscribe();
        let _ = asked.wait_for(|asked| *asked >= times).await;
    }

    /// As kill -9: every connection is gone at once.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Service {
    /// Answers one call that stores something.
    async fn store(&self, store: impl FnOnce()) -> Result<(), Status> {
        let behaviour = *self.behaviour.borrow();
        if behaviour != Behaviour::NotLeader {
            store();
        }
        self.asked.send_modify(|asked| *asked += 1);
        match behaviour {
            Behaviour::Lead => Ok(()),
            Behaviour::StoreInSilence => std::future::pending().await,
            Behaviour::NotLeader => {
                Err(Failure::new(Code::Unavailable, "NOT_LEADER", "no leader").into())
            }
            Behaviour::OutcomeUnknown => {
                Err(Failure::new(Code::Unavailable, "OUTCOME_UNKNOWN", "who knows").into())
            }
        }
    }

    async fn batch(
        &self,
        producer: Option<&str>,
        request: v1::PublishRequest,
    ) -> Result<v1::PublishResponse, Status> {
        let mut sequence = request.first_sequence;
        let mut outcomes = Vec::new();
        self.store(|| {
            for operation in request.operations {
                let outcome = match operation.kind.expect("an operation") {
                    Kind::Send(message) => {
                        let duplicate = match producer {
                            Some(producer) => {
                                !self.stored.add_once(producer, sequence, &message.topic)
                            }
                            None => {
                                self.stored.add(&message.topic);
                                false
                            }
                        };
                        sequence += 1;
                        v1::outcome::Kind::Sent(v1::SendReceipt {
                            queue: 7,
                            duplicate,
                            ..Default::default()
                        })
                    }
                    Kind::Prepare(_) => v1::outcome::Kind::Prepared(Default::default()),
                    Kind::Resolve(resolve) => {
                        self.stored.add(&resolve.transaction_id);
                        v1::outcome::Kind::Resolved(Default::default())
                    }
                };
                outcomes.push(v1::Outcome {
                    kind: Some(outcome),
                });
            }
        })
        .await?;
        Ok(v1::PublishResponse { outcomes })
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Producer for Service {
    async fn prepare(
        &self,
        request: Request<v1::PrepareRequest>,
    ) -> Result<Response<v1::PrepareResponse>, Status> {
        if let Some(group) = request.metadata().get("outrigger-data-group") {
            let group = group.to_str().expect("text").to_owned();
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            named.push(group);
        }
        let id = request.into_inner().transaction_id;
        if id == "unknown" {
            let failure = Failure::new(Code::NotFound, "TRANSACTION_NOT_FOUND", "no such thing");
            return Err(failure.with("field", "transaction_id").into());
        }
        self.store(|| self.stored.add(&id)).await?;
        Ok(Response::new(v1::PrepareResponse::default()))
    }

    async fn resolve(
        &self,
        _request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        self.store(|| {}).await?;
        Ok(Response::new(v1::ResolveResponse::default()))
    }

    async fn send(
        &self,
        request: Request<v1::SendRequest>,
    ) -> Result<Response<v1::SendResponse>, Status> {
        let message = request.into_inner().message.expect("a message");
        self.store(|| self.stored.add(&message.topic)).await?;
        Ok(Response::new(v1::SendResponse::default()))
    }

    type PublishStream = Answers<v1::PublishResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let state = (self.clone(), request.into_inner(), None);
        let answers = stream::try_unfold(state, async |(service, mut requests, producer)| {
            let Some(request) = requests.message().await? else {
                return Ok(None);
            };
            let named = request.producer.as_ref().map(|id| id.producer_id.clone());
            let producer = named.or(producer);
            let answer = service.batch(producer.as_deref(), request).await?;
            Ok(Some((answer, (service, requests, producer))))
        });
        Ok(Response::new(answers.boxed()))
    }

    type CheckBackStream = Answers<v1::CheckBackResponse>;

    async fn check_back(
        &self,
        _request: Request<Streaming<v1::CheckBackRequest>>,
    ) -> Result<Response<Self::CheckBackStream>, Status> {
        self.asked.send_modify(|asked| *asked += 1);
        let one = stream::iter([Ok(v1::CheckBackResponse::default())]);
        Ok(Response::new(one.chain(stream::pending()).boxed()))
    }
}
