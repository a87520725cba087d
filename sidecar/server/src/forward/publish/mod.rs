//! A Publish stream that goes on when the leader changes.
//!
//! Requests are kept as they came until they are answered: one answer for each, in order. When
//! the leader is lost they go out again at the next one, from the oldest unanswered one,
//! and the application notices nothing but a pause. That is safe for a Prepare and a
//! Resolve, which carry their transaction's id, and for plain sends with a producer's
//! identity, which the log deduplicates. A stream with other sends on their way ends with
//! OUTCOME_UNKNOWN.

mod frames;
mod kept;
mod relay;
mod scan;

use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{body::Body, service::Routes};

use super::Forwarder;
pub(crate) use frames::{Frames, Message as Framed, TooLong};
use relay::Relay;

/// Messages on their way from one task to the next.
const ON_THE_WAY_MAX: usize = 16;

/// Takes the stream over; answers come from a task of its own.
pub(super) fn run(forwarder: Forwarder, here: Routes, request: Request<Body>) -> Response<Body> {
    let (answers, body) = mpsc::channel(ON_THE_WAY_MAX);
    let relay = Relay::new(forwarder, here, request, answers);
    tokio::spawn(relay.run());
    let mut response = Response::new(Body::new(StreamBody::new(ReceiverStream::new(body))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
