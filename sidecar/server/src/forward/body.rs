//! Bodies on their way: requests that are kept, answers that are held back until they are
//! whole, streams that end when the leader changes.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::{Status, body::Body};

use super::failure;

/// A request that can be made several times.
pub(super) struct KeptRequest {
    head: Request<()>,
    content: Vec<Bytes>,
    /// What was too much to be kept.
    rest: Option<Body>,
    is_kept: bool,
    /// Whether anything of the body went out since it was made for the last time.
    is_out: Arc<AtomicBool>,
}

impl KeptRequest {
    /// Reads the whole body, as long as it is not longer than `bytes_max`.
    pub(super) async fn read(request: Request<Body>, bytes_max: usize) -> Result<Self, Status> {
        let (parts, mut body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let (mut content, mut bytes) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                break;
            };
            bytes += data.len();
            content.push(data);
            if bytes > bytes_max {
                return Ok(Self {
                    head,
                    content,
                    rest: Some(body),
                    is_kept: false,
                    is_out: Arc::default(),
                });
            }
        }
        Ok(Self {
            head,
            content,
            rest: None,
            is_kept: true,
            is_out: Arc::default(),
        })
    }

    /// Whether it can be made again after [`Self::make`].
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether somebody may have received it, the last time that it was made. Without its
    /// body it asks for nothing.
    pub(super) fn may_be_out(&self) -> bool {
        self.content.is_empty() || self.is_out.load(Ordering::Acquire)
    }

    pub(super) fn make(&mut self) -> Request<Body> {
        self.is_out = Arc::default();
        let is_out = Arc::clone(&self.is_out);
        let content = self.content.clone().into_iter().map(move |data| {
            is_out.store(true, Ordering::Release);
            Ok::<_, Status>(Frame::data(data))
        });
        let kept = stream::iter(content);
        let body = match self.rest.take() {
            None => Body::new(StreamBody::new(kept)),
            Some(rest) => Body::new(StreamBody::new(kept.chain(frames(rest)))),
        };
        self.head.clone().map(|()| body)
    }
}

/// Waits until an answer is whole, as long as it is not longer than `bytes_max`; a longer one
/// is given on as it comes.
pub(super) async fn whole(
    response: Response<Body>,
    bytes_max: usize,
) -> Result<(Response<Body>, Option<HeaderMap>), Status> {
    let (parts, mut body) = response.into_parts();
    let mut content: VecDeque<Frame<Bytes>> = VecDeque::new();
    let mut bytes = 0;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
        trailers = frame.trailers_ref().cloned().or(trailers);
        content.push_back(frame);
        if bytes > bytes_max {
            let kept = stream::iter(content.into_iter().map(Ok));
            let body = Body::new(StreamBody::new(kept.chain(frames(body))));
            return Ok((Response::from_parts(parts, body), trailers));
        }
    }
    let body = Body::new(StreamBody::new(stream::iter(
        content.into_iter().map(Ok::<_, Status>),
    )));
    Ok((Response::from_parts(parts, body), trailers))
}

fn frames(body: Body) -> impl futures::Stream<Item = Result<Frame<Bytes>, Status>> + Send {
    stream::unfold(body, async |mut body| Some((body.frame().await?, body)))
}

/// The answers of a stream. They end with UNAVAILABLE when the leader is left or lost, so
/// that the client opens the stream again.
pub(super) struct UntilLeft {
    body: Option<Body>,
    left: BoxFuture<'static, ()>,
}

impl UntilLeft {
    pub(super) fn wrap(body: Body, left: BoxFuture<'static, ()>) -> Body {
        Body::new(Self {
            body: Some(body),
            left,
        })
    }
}

impl http_body::Body for UntilLeft {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the leader of a stream was lost");
            }
            Poll::Ready(frame) => return Poll::Ready(frame),
            Poll::Pending => match self.left.poll_unpin(context) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            },
        }
        self.body = None;
        let trailers = failure::trailers(failure::leader_changed());
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}
