//! One Consume stream over several data groups.
//!
//! There is a [`Link`] to each data group that one of the subscribed topics lies in; a
//! dead-letter topic lies in all of them. [`Inbound`] reads what the client says: its credits
//! are divided ([`credits`]), and acks, nacks and extends go to the data group that their
//! receipts name. [`Outbound`] tells it what comes back: deliveries as they arrive, and one
//! result for each request, when all data groups that had a part in it have answered.
//!
//! - The client never gets more messages than it has asked for. When it asks for fewer than
//!   there are data groups, messages may wait here for the next credit, leased and at most one
//!   less than there are data groups; one whose lease ends meanwhile is dropped, and comes
//!   again as after every lease that ends.
//! - A link that is lost, because its leader is, is opened again while the client's stream
//!   lives on. Nothing is lost by that: requests without a result are made again, which is
//!   harmless, and what was delivered on the way is leased anew, as after every change of a
//!   leader. Receipts that wait longer than [`Options`](super::Options) says are answered with
//!   the error of the link, which is one to try again; meanwhile the messages of the other data
//!   groups flow. Only when no data group can be reached the stream ends with UNAVAILABLE.
//! - Any other refusal of one data group ends the stream with that status.

mod credits;
mod desk;
mod inbound;
mod link;
mod outbound;
mod part;

use std::{collections::VecDeque, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use outrigger_core::{
    limits::{CREDITS_COUNT_MAX, SUBSCRIPTIONS_COUNT_MAX},
    placement::{Placement, TopicHome},
};
use outrigger_proto::stored::{ConsumeRequest, ConsumeResponse, Subscribe};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming, body::Body, server::StreamingService};
use tonic_prost::ProstCodec;

use super::{router::Groups, wire};
use crate::edge::{check_consume_request, not_subscribed};
use desk::Desk;
use inbound::Inbound;
use link::Link;
use outbound::Outbound;

/// Frames that wait for a slow connection.
const FRAMES_WAITING_MAX: usize = 4;
/// Deliveries of all links together that wait to be told, in frames.
const DELIVERIES_WAITING_MAX: usize = 2;

/// Serves one stream.
pub(super) async fn serve(groups: Arc<Groups>, request: Request<Body>) -> Response<Body> {
    let bytes_max = groups.options.request_bytes_max;
    tonic::server::Grpc::new(ProstCodec::default())
        .max_decoding_message_size(bytes_max)
        .streaming(Consume(groups), request)
        .await
}

/// The call Consume.
struct Consume(Arc<Groups>);

type Responses = ReceiverStream<Result<ConsumeResponse, Status>>;

impl StreamingService<ConsumeRequest> for Consume {
    type Response = ConsumeResponse;
    type ResponseStream = Responses;
    type Future = BoxFuture<'static, Result<tonic::Response<Responses>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<ConsumeRequest>>) -> Self::Future {
        let groups = Arc::clone(&self.0);
        async move { Ok(tonic::Response::new(open(groups, request).await?)) }.boxed()
    }
}

async fn open(
    groups: Arc<Groups>,
    request: tonic::Request<Streaming<ConsumeRequest>>,
) -> Result<Responses, Status> {
    let (metadata, _, mut requests) = request.into_parts();
    let head = wire::head(metadata);
    let Some(mut first) = requests.message().await? else {
        return Err(not_subscribed().into());
    };
    let subscribe = first.subscribe.take().ok_or_else(not_subscribed)?;
    check_consume_request(&first)?;
    let consumer_group = subscribe.consumer_group.clone();
    let shares = shares(subscribe, &groups.placement);
    let desk = Arc::new(Desk::new(shares.len(), CREDITS_COUNT_MAX));
    let (deliver, deliveries) = mpsc::channel(DELIVERIES_WAITING_MAX);
    let mut links = JoinSet::new();
    let mut parts = Vec::with_capacity(shares.len());
    for (place, (group, subscribe)) in shares.into_iter().enumerate() {
        // What is in there holds a permit of `room`, so it needs no bound of its own.
        let (to_link, of_link) = mpsc::unbounded_channel();
        let link = Link::new(
            place,
            group,
            groups.way(group)?.clone(),
            head.clone(),
            subscribe,
            groups.options.clone(),
            Arc::clone(&desk),
            deliver.clone(),
        );
        links.spawn(link.run(of_link));
        parts.push((group, to_link));
    }
    let (results, settled) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(groups.options.consume_requests_max.max(1)));
    let inbound = Inbound {
        groups: Arc::clone(&groups),
        consumer_group,
        head,
        desk: Arc::clone(&desk),
        parts: parts.clone(),
        results,
        room,
    };
    let (ended, end) = oneshot::channel();
    let reading = AbortOnDropHandle::new(tokio::spawn(async move {
        // The other half may have ended first.
        let _ = ended.send(inbound.run(first, requests).await);
    }));
    let (frames, responses) = mpsc::channel(FRAMES_WAITING_MAX);
    let outbound = Outbound {
        groups,
        desk,
        frames,
        links,
        parts,
        held: VecDeque::new(),
    };
    tokio::spawn(outbound.run(deliveries, settled, end, reading));
    Ok(ReceiverStream::new(responses))
}

/// The subscriptions of each data group that has any of the topics.
pub(super) fn shares(subscribe: Subscribe, placement: &Placement) -> Vec<(u32, Subscribe)> {
    let count = subscribe.subscriptions.len();
    if !(1..=SUBSCRIPTIONS_COUNT_MAX).contains(&count) {
        // It is refused there, in the same words as everywhere.
        return vec![(0, subscribe)];
    }
    let mut shares = Vec::new();
    for group in 0..placement.groups() {
        let is_here = |topic: &str| match placement.topic(topic) {
            TopicHome::One(home) => home == group,
            TopicHome::Every => true,
        };
        let subscriptions = subscribe.subscriptions.iter();
        let here: Vec<_> = subscriptions
            .filter(|subscription| is_here(&subscription.topic))
            .cloned()
            .collect();
        if !here.is_empty() {
            let subscribe = Subscribe {
                subscriptions: here,
                ..subscribe.clone()
            };
            shares.push((group, subscribe));
        }
    }
    shares
}
