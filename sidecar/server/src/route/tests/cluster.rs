use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use outrigger_core::placement::{Placement, TopicHome};
use outrigger_log::{IndexEntry, Log};
use outrigger_proto::v1;
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    body::Body,
    codegen::Service,
    service::Routes,
    transport::{Channel, Endpoint, Server},
};

use crate::{
    config::Config,
    edge::status::Failure,
    forward::{Forward, Ways, failure},
    http::Readiness,
    options,
    route::{Options, Router},
    serve::{lead::Common, tenure::Tenure},
};

/// Data groups, a router before them, and a port for applications.
pub(super) struct Cluster {
    pub(super) groups: Vec<DataGroup>,
    pub(super) router: Router,
    pub(super) placement: Placement,
    pub(super) uri: String,
}

/// A data group of one node.
pub(super) struct DataGroup {
    pub(super) log: Log,
    pub(super) way: Shaky,
    common: Common,
    tenure: Mutex<Option<Tenure>>,
    terms: AtomicU64,
    _data: tempfile::TempDir,
}

/// The way to a data group, which can be told to fail.
#[derive(Clone)]
pub(super) struct Shaky {
    /// The services of the leader.
    leader: watch::Sender<Option<Routes>>,
    /// Messages of streams that still arrive; what follows is lost with its stream. Negative
    /// for no end.
    arriving: Arc<AtomicI64>,
    /// Nothing of a stream arrives as long as this is true.
    pub(super) holds: watch::Sender<bool>,
}

impl Cluster {
    pub(super) async fn start(groups: u32) -> Self {
        Self::with(groups, Options::default()).await
    }

    pub(super) async fn with(groups: u32, options: Options) -> Self {
        let placement = Placement::new(groups).unwrap();
        let mut started = Vec::new();
        for _ in 0..groups {
            started.push(DataGroup::start().await);
        }
        let ways: Vec<_> = started.iter().map(|group| group.way.clone()).collect();
        let router = Router::new(placement, ways, options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_routes(router.routes());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            groups: started,
            router,
            placement,
            uri,
        }
    }

    pub(super) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.uri.clone())
            .unwrap()
            .connect_lazy()
    }

    /// Names of topics, `each` of them in every data group, group by group.
    pub(super) fn topics(&self, each: usize) -> Vec<Vec<String>> {
        let mut topics = vec![Vec::new(); self.groups.len()];
        for number in 0.. {
            let name = format!("topic-{number}");
            let TopicHome::One(group) = self.placement.topic(&name) else {
                continue;
            };
            let of_group = &mut topics[group as usize];
            if of_group.len() < each {
                of_group.push(name);
            }
            if topics.iter().all(|topics| topics.len() == each) {
                break;
            }
        }
        topics
    }
}

impl DataGroup {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: data.path().to_owned(),
            default_queues: 1,
            ..Config::default()
        };
        config.log.segment_bytes = 32 << 20;
        config.check_back.first_check_ms = 10;
        config.delivery.retry_delays_ms = vec![0];
        let log = Log::open(options::log(&config)).await.unwrap();
        let (leader, _) = watch::channel(None);
        let group = Self {
            log,
            way: Shaky {
                leader,
                arriving: Arc::new(AtomicI64::new(-1)),
                holds: watch::Sender::new(false),
            },
            common: Common {
                config: Arc::new(config),
                // Each of them is alone, and knows of no others.
                ways: Ways::new(vec![Forward::here(Routes::default())]).unwrap(),
                readiness: Readiness::default(),
            },
            tenure: Mutex::new(None),
            terms: AtomicU64::new(1),
            _data: data,
        };
        group.lead();
        group
    }

    /// Somebody leads, with new services.
    pub(super) fn lead(&self) {
        let term = self.terms.fetch_add(1, SeqCst);
        let tenure = Tenure::begin(&self.common, &self.log, term).unwrap();
        let routes = tenure.routes();
        *self.tenure.lock().unwrap() = Some(tenure);
        self.way.leader.send_replace(Some(routes));
    }

    /// Nobody leads any more: calls are refused, and streams end.
    pub(super) fn lose(&self) {
        self.way.leader.send_replace(None);
        if let Some(tenure) = self.tenure.lock().unwrap().take() {
            tenure.end(failure::leader_changed());
        }
    }

    /// Loses the streams after so many more messages, the last of which is lost as well.
    pub(super) fn cut_after(&self, messages: i64) {
        self.way.arriving.store(messages, SeqCst);
    }

    /// What a consumer group has not done.
    pub(super) fn backlog(&self, consumer_group: &str) -> u64 {
        let Some(consumer_group) = self.log.consumer_group(consumer_group) else {
            return 0;
        };
        let mut backlog = 0;
        for topic in self.log.topics() {
            for queue in 0..topic.queues {
                let progress = self.log.progress(consumer_group.id, topic.id, queue);
                let (_, next) = self.log.queue_bounds(topic.id, queue);
                backlog += next - progress.floor() - progress.acked_above_floor();
            }
        }
        backlog
    }

    /// Everything that is visible, in the order of the log.
    pub(super) fn stored(&self) -> Vec<v1::Message> {
        let mut entries: Vec<IndexEntry> = Vec::new();
        for topic in self.log.topics() {
            for queue in 0..topic.queues {
                self.log
                    .index(topic.id, queue, 0, usize::MAX, &mut entries)
                    .unwrap();
            }
        }
        entries.sort_by_key(|entry| (entry.place.index, entry.place.offset));
        let stored = self.log.read(&entries).unwrap();
        let decode = |stored| v1::Message::decode(stored).unwrap();
        stored.into_iter().map(decode).collect()
    }
}

impl Shaky {
    /// Whether the next message of a stream arrives.
    fn arrives(&self) -> bool {
        let left = self
            .arriving
            .fetch_update(SeqCst, SeqCst, |left| (left >= 0).then_some(left - 1));
        // Only the one that makes it negative is lost.
        left != Ok(0)
    }

    /// The answers of a stream, for as long as they arrive.
    fn stream(self, body: Body) -> Body {
        let leader = self.leader.subscribe();
        let state = (body, leader, self, false);
        let frames = stream::unfold(state, async |(mut body, mut leader, way, over)| {
            if over {
                return None;
            }
            let lost = || Some(Ok::<_, Infallible>(Frame::trailers(lost())));
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = leader.changed() => return Some((lost()?, (body, leader, way, true))),
            };
            let _ = way.holds.subscribe().wait_for(|holds| !holds).await;
            match frame? {
                Ok(frame) if frame.is_data() && !way.arrives() => {
                    Some((lost()?, (body, leader, way, true)))
                }
                Ok(frame) => Some((Ok(frame), (body, leader, way, false))),
                Err(_) => Some((lost()?, (body, leader, way, true))),
            }
        });
        Body::new(StreamBody::new(frames))
    }
}

fn lost() -> http::HeaderMap {
    failure::trailers(failure::leader_changed())
}

impl Service<Request<Body>> for Shaky {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let leader = self.leader.borrow().clone();
        let Some(mut routes) = leader else {
            let failure = Failure::new(Code::Unavailable, "NO_LEADER", "nobody leads");
            let refused = Status::from(failure).into_http();
            return std::future::ready(Ok(refused)).boxed();
        };
        let streams = ["/Publish", "/Consume", "/CheckBack"];
        let path = request.uri().path();
        let is_stream = streams.iter().any(|name| path.ends_with(name));
        let way = self.clone();
        async move {
            let response = routes.call(request).await?;
            Ok(match is_stream {
                true => response.map(|body| way.stream(body)),
                false => response,
            })
        }
        .boxed()
    }
}
