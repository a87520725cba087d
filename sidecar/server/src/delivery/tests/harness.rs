//! A sidecar that only delivers: real gRPC, a real log in a temporary directory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use outrigger_core::lease::Progress;
use outrigger_log::{Command, ConsumerGroupId, IndexEntry, Log, NewMessage, Outcome, TopicId};
use outrigger_proto::{
    stored::consumer_server::ConsumerServer,
    v1::{self, consumer_client::ConsumerClient},
};
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use super::super::{
    GroupInfo, NotRecorded, Options, Service, Store, TopicInfo, log_store::LogStore,
};
use crate::edge::{status::Failure, tag_hash};

pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) struct Sidecar {
    pub(super) log: Log,
    pub(super) service: Service,
    pub(super) client: ConsumerClient<Channel>,
    pub(super) overloaded: Arc<AtomicBool>,
    /// Another node may lead.
    pub(super) cut_off: Arc<AtomicBool>,
    _data: tempfile::TempDir,
}

/// The log of this node, which refuses to record when it is told to.
struct Overloadable {
    log: LogStore,
    overloaded: Arc<AtomicBool>,
    cut_off: Arc<AtomicBool>,
}

impl Store for Overloadable {
    fn term(&self) -> u64 {
        self.log.term()
    }

    fn has_lease(&self) -> bool {
        !self.cut_off.load(Ordering::SeqCst) && self.log.has_lease()
    }

    fn confirm(&self) -> BoxFuture<'static, bool> {
        match self.cut_off.load(Ordering::SeqCst) {
            true => futures::future::ready(false).boxed(),
            false => self.log.confirm(),
        }
    }

    fn ensure_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Failure>> {
        self.log.ensure_topic(name)
    }

    fn ensure_group<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<GroupInfo, Failure>> {
        self.log.ensure_group(name)
    }

    fn group(&self, name: &str) -> Option<GroupInfo> {
        self.log.group(name)
    }

    fn topic(&self, id: TopicId) -> Option<TopicInfo> {
        self.log.topic(id)
    }

    fn bounds(&self, topic: TopicId, queue: u32) -> (u64, u64) {
        self.log.bounds(topic, queue)
    }

    fn progress(&self, group: ConsumerGroupId, topic: TopicId, queue: u32) -> Progress {
        self.log.progress(group, topic, queue)
    }

    fn index(
        &self,
        topic: TopicId,
        queue: u32,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), Failure> {
        self.log.index(topic, queue, from, max, out)
    }

    fn read(&self, entries: Vec<IndexEntry>) -> BoxFuture<'_, Result<Vec<Bytes>, Failure>> {
        self.log.read(entries)
    }

    fn watch(&self, topic: TopicId) -> Option<watch::Receiver<u64>> {
        self.log.watch(topic)
    }

    fn record(
        &self,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, NotRecorded>> {
        if !self.overloaded.load(Ordering::SeqCst) {
            return self.log.record(commands);
        }
        let failure = Failure::new(Code::ResourceExhausted, "LOG_OVERLOADED", "full");
        let try_again = true;
        futures::future::ready(Err(NotRecorded { failure, try_again })).boxed()
    }
}

pub(super) async fn start(options: Options) -> Sidecar {
    let data = tempfile::tempdir().unwrap();
    let log = Log::open(outrigger_log::Options::new(data.path()))
        .await
        .unwrap();
    let overloaded = Arc::<AtomicBool>::default();
    let cut_off = Arc::<AtomicBool>::default();
    let store = Overloadable {
        log: LogStore::new(log.clone(), &options),
        overloaded: Arc::clone(&overloaded),
        cut_off: Arc::clone(&cut_off),
    };
    let service = Service::over(store, options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(ConsumerServer::new(service.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let client = ConsumerClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    Sidecar {
        log,
        service,
        client: client.max_decoding_message_size(usize::MAX),
        overloaded,
        cut_off,
        _data: data,
    }
}

/// One queue, two attempts, retries at once.
pub(super) fn options() -> Options {
    Options {
        queues_default: 1,
        max_attempts: 2,
        retry_delays_ms: vec![0],
        record_retry_ms_max: 50,
        idle_ms: 50,
        ..Options::default()
    }
}

fn message(topic: TopicId, name: &str, tag: &str, group: u64) -> Command {
    let stored = v1::Message {
        body: Bytes::copy_from_slice(name.as_bytes()),
        tag: tag.to_owned(),
        ..Default::default()
    };
    let tag_hash = match tag {
        "" => 0,
        _ => tag_hash(tag),
    };
    Command::Send {
        message: NewMessage {
            destination: topic.into(),
            key_hash: group,
            tag_hash,
            deliver_at_ms: 0,
            from_fence: false,
            stored: stored.encode_to_vec().into(),
        },
        sequence: None,
    }
}

impl Sidecar {
    pub(super) async fn topic(&self, name: &str) -> TopicId {
        self.service.store.ensure_topic(name).await.unwrap().id
    }

    pub(super) async fn send(&self, topic: &str, messages: &[(&str, &str, u64)]) {
        let topic = self.topic(topic).await;
        let commands = messages
            .iter()
            .map(|(name, tag, group)| message(topic, name, tag, *group));
        self.log.submit(commands.collect()).unwrap().await.unwrap();
    }

    pub(super) async fn receive(
        &mut self,
        group: &str,
        topic: &str,
        wait_ms: u64,
    ) -> Vec<v1::Delivery> {
        let request = v1::ReceiveRequest {
            wait_ms,
            ..receive(group, topic, "")
        };
        self.client
            .receive(request)
            .await
            .unwrap()
            .into_inner()
            .deliveries
    }

    pub(super) async fn ack(&mut self, group: &str, receipts: Vec<Bytes>) -> Vec<v1::ReceiptError> {
        let request = v1::AckRequest {
            consumer_group: group.to_owned(),
            receipts,
        };
        self.client.ack(request).await.unwrap().into_inner().errors
    }

    pub(super) async fn nack(&mut self, group: &str, receipt: Bytes) -> Vec<v1::ReceiptError> {
        let request = v1::NackRequest {
            consumer_group: group.to_owned(),
            nacks: vec![v1::Nack {
                receipt,
                delay_ms: None,
            }],
        };
        self.client.nack(request).await.unwrap().into_inner().errors
    }

    pub(super) async fn consume(&mut self, first: v1::ConsumeRequest) -> Result<Stream, Status> {
        let (requests, outbound) = mpsc::channel(64);
        requests.send(first).await.unwrap();
        let responses = self.client.consume(ReceiverStream::new(outbound)).await?;
        Ok(Stream {
            requests,
            responses: responses.into_inner(),
            deliveries: Vec::new(),
        })
    }

    pub(super) fn floor(&self, group: &str, topic: &str) -> u64 {
        let group = self.log.consumer_group(group).unwrap().id;
        let topic = self.log.topic(topic).unwrap();
        let floor = |queue| self.log.progress(group, topic.id, queue).floor();
        (0..topic.queues).map(floor).sum()
    }
}

pub(super) struct Stream {
    pub(super) requests: mpsc::Sender<v1::ConsumeRequest>,
    pub(super) responses: Streaming<v1::ConsumeResponse>,
    deliveries: Vec<v1::Delivery>,
}

impl Stream {
    pub(super) async fn delivery(&mut self) -> v1::Delivery {
        while self.deliveries.is_empty() {
            let response = timeout(SOON, self.responses.message()).await.unwrap();
            self.deliveries = response.unwrap().unwrap().deliveries;
        }
        self.deliveries.remove(0)
    }

    pub(super) async fn result(&mut self) -> v1::ConsumeResult {
        loop {
            let response = timeout(SOON, self.responses.message()).await.unwrap();
            let mut response = response.unwrap().unwrap();
            self.deliveries.append(&mut response.deliveries);
            if let Some(result) = response.results.pop() {
                return result;
            }
        }
    }
}

pub(super) fn receive(group: &str, topic: &str, filter: &str) -> v1::ReceiveRequest {
    v1::ReceiveRequest {
        consumer_group: group.to_owned(),
        subscriptions: vec![v1::Subscription {
            topic: topic.to_owned(),
            filter: filter.to_owned(),
        }],
        ..Default::default()
    }
}

pub(super) fn subscribe(
    group: &str,
    topic: &str,
    filter: &str,
    credits: u32,
) -> v1::ConsumeRequest {
    let v1::ReceiveRequest {
        consumer_group,
        subscriptions,
        ..
    } = receive(group, topic, filter);
    v1::ConsumeRequest {
        subscribe: Some(v1::Subscribe {
            consumer_group,
            subscriptions,
            invisible_ms: 1_000,
            instance: "test".to_owned(),
        }),
        credits,
        ..Default::default()
    }
}

pub(super) fn names(deliveries: &[v1::Delivery]) -> Vec<String> {
    let body = |delivery: &v1::Delivery| {
        let body = &delivery.message.as_ref().unwrap().body;
        String::from_utf8(body.to_vec()).unwrap()
    };
    deliveries.iter().map(body).collect()
}

pub(super) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}
