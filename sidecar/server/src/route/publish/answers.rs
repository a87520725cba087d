use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, body::Body};

use super::Frames;
use crate::{
    forward::{self, Framed, failure},
    route::{way::Way, wire::Head},
};

/// Parts on their way to one data group.
const PARTS_WAITING_MAX: usize = 2;

/// The answers of one data group's Publish stream. It ends when they are dropped.
pub(super) struct Answers {
    state: State,
    frames: forward::Frames,
}

enum State {
    Opening(AbortOnDropHandle<Response<Body>>),
    Open(Body),
}

impl Answers {
    /// Opens a stream; what goes into the first part goes to the data group.
    pub(super) fn open(way: &Way, head: &Head, answer_bytes_max: usize) -> (Frames, Self) {
        let (parts, body) = mpsc::channel(PARTS_WAITING_MAX);
        let body = Body::new(StreamBody::new(ReceiverStream::new(body)));
        // It begins before anybody waits for its answers.
        let opening = tokio::spawn(way.ask(head.clone().map(|()| body)));
        let answers = Self {
            state: State::Opening(AbortOnDropHandle::new(opening)),
            frames: forward::Frames::new(answer_bytes_max),
        };
        (parts, answers)
    }

    /// The next answer, or how the stream ended.
    pub(super) async fn next(&mut self) -> Result<Framed, HeaderMap> {
        loop {
            let frames = &mut self.frames;
            match frames.next() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => {
                    return Err(failure::trailers(crate::route::failure::too_long(error)));
                }
            }
            match &mut self.state {
                State::Opening(opening) => {
                    let Ok(response) = opening.await else {
                        return Err(lost());
                    };
                    if Status::from_header_map(response.headers()).is_some() {
                        return Err(response.headers().clone());
                    }
                    self.state = State::Open(response.into_body());
                }
                State::Open(body) => match body.frame().map(data).await {
                    Ok(data) => frames.push(&data),
                    Err(trailers) => return Err(trailers),
                },
            }
        }
    }
}

/// What arrived, or the trailers of the end. A stream that ends well before it has answered
/// everything is lost like one that breaks.
fn data(frame: Option<Result<Frame<Bytes>, Status>>) -> Result<Bytes, HeaderMap> {
    let frame = match frame {
        Some(Ok(frame)) => frame,
        Some(Err(_)) | None => return Err(lost()),
    };
    frame.into_data().map_err(|frame| {
        let trailers = frame.into_trailers().unwrap_or_default();
        match Status::from_header_map(&trailers).map(|status| status.code()) {
            None | Some(Code::Ok) => lost(),
            Some(_) => trailers,
        }
    })
}

fn lost() -> HeaderMap {
    failure::trailers(failure::leader_changed())
}
