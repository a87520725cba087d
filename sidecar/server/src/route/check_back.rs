//! One CheckBack stream over several data groups: the replica is registered with all of them,
//! gets the questions of all, and each answer goes where its transaction is decided.
//!
//! A stream to a data group that is lost is opened again. Nothing has to be kept for that: what
//! was asked and not answered is asked again.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use outrigger_proto::stored::{
    CheckBackRequest, CheckBackResponse, producer_client::ProducerClient,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming, body::Body, server::StreamingService};
use tonic_prost::ProstCodec;

use super::{home, pause::Pause, router::Groups, standing::Standing, way::Way, wire, wire::Head};
use crate::delivery::shutting_down;

/// Answers on their way to one data group. What does not fit is asked again.
const ANSWERS_WAITING_MAX: usize = 64;
/// Questions that wait for a slow connection.
const QUESTIONS_WAITING_MAX: usize = 4;
/// How long a stream may say nothing before it says whom it answers for.
const REGISTER_MS_MAX: u64 = 10_000;

/// Serves one stream.
pub(super) async fn serve(groups: Arc<Groups>, request: Request<Body>) -> Response<Body> {
    let bytes_max = groups.options.request_bytes_max;
    tonic::server::Grpc::new(ProstCodec::default())
        .max_decoding_message_size(bytes_max)
        .streaming(CheckBack(groups), request)
        .await
}

/// The call CheckBack.
struct CheckBack(Arc<Groups>);

type Told = Result<CheckBackResponse, Status>;
type Questions = mpsc::Sender<Told>;

impl StreamingService<CheckBackRequest> for CheckBack {
    type Response = CheckBackResponse;
    type ResponseStream = ReceiverStream<Told>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<CheckBackRequest>>) -> Self::Future {
        let groups = Arc::clone(&self.0);
        async move { Ok(tonic::Response::new(open(groups, request).await?)) }.boxed()
    }
}

async fn open(
    groups: Arc<Groups>,
    request: tonic::Request<Streaming<CheckBackRequest>>,
) -> Result<ReceiverStream<Told>, Status> {
    let (metadata, _, mut requests) = request.into_parts();
    let head = wire::head(metadata);
    let limit = Duration::from_millis(REGISTER_MS_MAX);
    let first = timeout(limit, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no registration"))??;
    // Without one it is refused where it is taken to.
    let first = first.unwrap_or_default();
    let (questions, asked) = mpsc::channel(QUESTIONS_WAITING_MAX);
    let standing = Arc::new(Standing::new(groups.placement.groups() as usize));
    let mut links = JoinSet::new();
    let mut answers = Vec::new();
    for way in groups.ways() {
        let (to_link, of_link) = mpsc::channel(ANSWERS_WAITING_MAX);
        let link = Link {
            way: way.clone(),
            head: head.clone(),
            producer_group: first.producer_group.clone(),
            questions: questions.clone(),
            standing: Arc::clone(&standing),
        };
        links.spawn(link.run(of_link, Pause::new(&groups.options)));
        answers.push(to_link);
    }
    tokio::spawn(run(groups, first, requests, answers, links, questions));
    Ok(ReceiverStream::new(asked))
}

/// Until the client, a data group that refuses, or the process ends the stream.
async fn run(
    groups: Arc<Groups>,
    first: CheckBackRequest,
    mut requests: Streaming<CheckBackRequest>,
    answers: Vec<mpsc::Sender<CheckBackRequest>>,
    mut links: JoinSet<Status>,
    questions: Questions,
) {
    let mut next = Some(first);
    let status = loop {
        if let Some(request) = next.take() {
            route(&groups, request, &answers);
        }
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => next = Some(request),
                Ok(None) | Err(_) => return,
            },
            ended = links.join_next() => match ended {
                Some(Ok(status)) => break status,
                Some(Err(_)) | None => break Status::internal("a link has ended"),
            },
            () = questions.closed() => return,
            () = groups.closing.cancelled() => break shutting_down().into(),
        }
    };
    // An error means that the client is gone.
    let _ = questions.send(Err(status)).await;
}

/// Takes each answer where its transaction is decided.
fn route(groups: &Groups, request: CheckBackRequest, links: &[mpsc::Sender<CheckBackRequest>]) {
    for answer in request.answers {
        let id = answer.transaction_id.as_bytes();
        let group = home::of_transaction(id, &groups.placement);
        let request = CheckBackRequest {
            answers: vec![answer],
            ..CheckBackRequest::default()
        };
        let link = links.get(group as usize);
        if link.is_none_or(|link| link.try_send(request).is_err()) {
            tracing::debug!(
                data_group = group,
                "a check-back answer was dropped; it is asked again"
            );
        }
    }
}

/// The CheckBack stream to one data group.
struct Link {
    way: Way,
    head: Head,
    producer_group: String,
    questions: Questions,
    standing: Arc<Standing>,
}

impl Link {
    /// Until the data group refuses, or none is left that can be asked.
    async fn run(self, mut answers: mpsc::Receiver<CheckBackRequest>, mut pause: Pause) -> Status {
        let mut is_down = false;
        loop {
            let (requests, body) = mpsc::channel(ANSWERS_WAITING_MAX);
            let registration = CheckBackRequest {
                producer_group: self.producer_group.clone(),
                ..CheckBackRequest::default()
            };
            // There is room for the first one.
            let _ = requests.try_send(registration);
            let request = wire::call(&self.head, ReceiverStream::new(body));
            let mut client = ProducerClient::new(self.way.clone());
            let status = match client.check_back(request).await {
                Ok(asked) => {
                    if std::mem::replace(&mut is_down, false) {
                        self.standing.up();
                    }
                    pause.succeeded();
                    self.pass(&mut answers, requests, asked.into_inner()).await
                }
                Err(status) if status.code() == Code::Unavailable => {
                    let was_down = std::mem::replace(&mut is_down, true);
                    if !was_down && !self.standing.down() {
                        return status;
                    }
                    Some(status)
                }
                Err(status) => return status,
            };
            if let Some(status) = status
                && status.code() != Code::Unavailable
            {
                return status;
            }
            sleep_until(pause.next()).await;
        }
    }

    /// Passes questions and answers for as long as the stream lasts.
    async fn pass(
        &self,
        answers: &mut mpsc::Receiver<CheckBackRequest>,
        requests: mpsc::Sender<CheckBackRequest>,
        mut asked: Streaming<CheckBackResponse>,
    ) -> Option<Status> {
        let questions = self.questions.clone();
        // One that waits for a slow client does not hold up the answers.
        let asking = tokio::spawn(async move {
            loop {
                match asked.message().await {
                    Ok(Some(response)) => {
                        if questions.send(Ok(response)).await.is_err() {
                            return None;
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        });
        let mut asking = AbortOnDropHandle::new(asking);
        loop {
            tokio::select! {
                ended = &mut asking => return ended.ok().flatten(),
                Some(answer) = answers.recv() => {
                    // What cannot be said is asked again.
                    let _ = requests.send(answer).await;
                }
            }
        }
    }
}
