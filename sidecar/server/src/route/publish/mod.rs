//! One Publish stream over several data groups.
//!
//! Each request is split up by its operations: a send goes where its topic lies, a Prepare and
//! a Resolve where their transaction is decided. There is one Publish stream to each data group
//! that something was for, opened when it is needed. A request is answered when all its parts
//! are, and requests are answered in order.
//!
//! What follows from that, and is meant so:
//!
//! - A stream is as slow as the slowest data group that it speaks to. Nothing of it is piled up
//!   meanwhile: when a data group takes no more, or when so many bytes are without an answer
//!   as [`Options`](super::Options) says, the stream is read no further.
//! - When the stream of one data group ends, the client's stream ends with the same status, and
//!   the client repeats what was not answered. The ways to the data groups repeat by themselves
//!   as long as that is harmless, so an election is no more than a pause.
//! - A request for one data group is passed on with the bytes that it came with.
//!
//! Numbers of sends. A producer counts its sends over all topics, so a data group sees numbers
//! with holes. Each part says which number this stream has sent to the same data group before
//! it, 0 when there is none, and the data group takes a new number only when that one was
//! consumed. A stream begins with the first operation without an answer, or answered with a gap,
//! and everything before it was consumed wherever it belonged: so nothing is lost by beginning
//! from 0 with a new stream or a new epoch. A client that goes on after a hole, because what
//! lies in it was answered, does so on a new stream when everything before is answered. An operation that will be refused, for its topic's name or its
//! content, goes where it would go otherwise, and its number is consumed there.

mod answers;
mod plan;
mod reader;
mod split;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use super::{router::Groups, wire};
use answers::Answers;
use plan::Plan;
use reader::Reader;
use writer::Writer;

/// Answers that wait for a slow connection.
const ANSWERS_WAITING_MAX: usize = 16;

/// What is next to be answered.
enum Turn {
    /// A request whose parts are on their way.
    Request {
        /// Streams that were opened for it.
        opened: Vec<(u32, Answers)>,
        plan: Plan,
        /// Its share of what may be without an answer.
        _room: OwnedSemaphorePermit,
    },
    /// Nothing more: the stream ends with these trailers.
    End(HeaderMap),
}

type Frames = mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

/// Takes the stream over; answers come from tasks of its own.
pub(super) fn serve(groups: Arc<Groups>, request: Request<Body>) -> Response<Body> {
    let (frames, body) = mpsc::channel(ANSWERS_WAITING_MAX);
    let (turns, next) = mpsc::channel(groups.options.publish_requests_max.max(1));
    tokio::spawn(Reader::new(groups, request, turns).run());
    tokio::spawn(Writer::new(frames).run(next));
    wire::with_body(Body::new(StreamBody::new(ReceiverStream::new(body))))
}
