use std::{convert::Infallible, pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body, service::Routes};

use super::{
    ON_THE_WAY_MAX,
    frames::{Frames, TooLong},
    kept::Kept,
};
use crate::forward::{Forwarder, Target, failure, forwarder::Unanswered};

/// Passes one Publish stream on, to one leader after the other.
pub(super) struct Relay {
    forwarder: Forwarder,
    here: Routes,
    head: Request<()>,
    requests: Body,
    frames: Frames,
    kept: Kept,
    /// The application has nothing more to send.
    over: bool,
    answers: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
}

/// How a stream at one leader ended.
enum End {
    /// The application is gone, or has been told everything.
    Done,
    /// With these trailers, which the application shall have.
    Told(HeaderMap),
    /// The leader is lost; the next one may go on.
    Lost,
}

type Upstream = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

impl Relay {
    pub(super) fn new(
        forwarder: Forwarder,
        here: Routes,
        request: Request<Body>,
        answers: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    ) -> Self {
        let (parts, requests) = request.into_parts();
        let frames = Frames::new(forwarder.options().request_bytes_max);
        Self {
            forwarder,
            here,
            head: Request::from_parts(parts, ()),
            requests,
            frames,
            kept: Kept::default(),
            over: false,
            answers,
        }
    }

    pub(super) async fn run(mut self) {
        if let Some(trailers) = self.serve().await {
            // An error means that the application is gone.
            let _ = self.answers.send(Ok(Frame::trailers(trailers))).await;
        }
    }

    /// Until the stream has ended; with which trailers.
    async fn serve(&mut self) -> Option<HeaderMap> {
        let wait_ms = self.forwarder.options().leader_wait_ms;
        let mut attempt = 0;
        let mut lost_at = None;
        loop {
            // A stream at the leader is opened when there is something to say.
            if self.kept.is_empty() {
                (attempt, lost_at) = (0, None);
                if !self.read_first().await {
                    return self.over.then(ok);
                }
            }
            let lost_at = *lost_at.get_or_insert_with(Instant::now);
            let deadline = lost_at + Duration::from_millis(wait_ms);
            let leader = self.forwarder.leader(deadline).await;
            let Some(target) = leader.filter(|_| Instant::now() < deadline) else {
                return Some(failure::trailers(if self.kept.has_tried() {
                    failure::outcome_unknown()
                } else {
                    failure::no_leader(wait_ms)
                }));
            };
            let mut answered = false;
            match self.at(&target, &mut answered).await {
                End::Done => return None,
                End::Told(trailers) => return Some(trailers),
                End::Lost => {}
            }
            if !self.kept.may_repeat() {
                return Some(failure::trailers(failure::outcome_unknown()));
            }
            if answered {
                attempt = 0;
            }
            self.forwarder.doubted();
            self.forwarder.pause(&target, attempt).await;
            attempt += 1;
        }
    }

    /// Waits for a request; false when there will be none.
    async fn read_first(&mut self) -> bool {
        while self.kept.is_empty() {
            let frame = tokio::select! {
                frame = self.requests.frame() => frame,
                () = self.answers.closed() => return false,
                () = self.forwarder.closing() => None,
            };
            match frame {
                None => {
                    self.over = true;
                    return false;
                }
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    if let Err(too_long) = self.read(frame) {
                        let _ = self.answers.send(Ok(refusal(too_long))).await;
                        return false;
                    }
                }
            }
        }
        true
    }

    fn read(&mut self, frame: Frame<Bytes>) -> Result<(), TooLong> {
        if let Ok(data) = frame.into_data() {
            self.frames.push(&data);
            while let Some(message) = self.frames.next()? {
                self.kept.push(message);
            }
        }
        Ok(())
    }

    /// Goes on at one leader for as long as it answers.
    async fn at(&mut self, target: &Target, answered: &mut bool) -> End {
        self.kept.start_over();
        let (sender, upstream) = mpsc::channel(ON_THE_WAY_MAX);
        let body = Body::new(StreamBody::new(ReceiverStream::new(upstream)));
        let request = self.head.clone().map(|()| body);
        let forwarder = self.forwarder.clone();
        let mut here = self.here.clone();
        let left = forwarder.left(target.clone());
        let opening = forwarder.call(target, &mut here, request);
        let (mut left, mut opening) = (pin!(left), pin!(opening));
        let mut sender = Some(sender);
        let mut response: Option<Body> = None;
        let mut incoming = Frames::new(self.forwarder.options().response_bytes_max);
        loop {
            if self.over && !self.kept.has_next() {
                sender = None;
            }
            let options = self.forwarder.options();
            let room = self
                .kept
                .has_room(options.publish_requests_max, options.publish_bytes_max);
            tokio::select! {
                biased;
                frame = next(&mut response), if response.is_some() => {
                    match self.answer(frame, &mut incoming, answered).await {
                        None => {}
                        Some(end) => return end,
                    }
                }
                opened = &mut opening, if response.is_none() => match self.opened(opened) {
                    Ok(body) => response = Some(body),
                    Err(end) => return end,
                },
                sent = send(&sender, &mut self.kept) => {
                    if !sent {
                        // Why, the answers tell.
                        sender = None;
                    }
                }
                frame = self.requests.frame(), if !self.over && room => match frame {
                    None => self.over = true,
                    Some(Err(_)) => return End::Done,
                    Some(Ok(frame)) => if let Err(too_long) = self.read(frame) {
                        return told(refusal(too_long));
                    },
                },
                () = &mut left => return End::Lost,
                // What was taken is still answered; the client repeats the rest elsewhere.
                () = forwarder.closing(), if !self.over => self.over = true,
                () = self.answers.closed() => return End::Done,
            }
        }
    }

    fn opened(&self, opened: Result<Response<Body>, Unanswered>) -> Result<Body, End> {
        let response = opened.map_err(|unanswered| {
            tracing::debug!(why = unanswered.why, "a Publish stream could not be opened");
            End::Lost
        })?;
        match Status::from_header_map(response.headers()) {
            None => Ok(response.into_body()),
            Some(status) if status.code() == Code::Unavailable => Err(End::Lost),
            Some(_) => Err(End::Told(response.headers().clone())),
        }
    }

    /// Gives answers on, those that are whole.
    async fn answer(
        &mut self,
        frame: Option<Result<Frame<Bytes>, Status>>,
        incoming: &mut Frames,
        answered: &mut bool,
    ) -> Option<End> {
        let frame = match frame {
            None => return Some(End::Lost),
            Some(Err(status)) => {
                tracing::debug!(%status, "the leader of a Publish stream was lost");
                return Some(End::Lost);
            }
            Some(Ok(frame)) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Some(self.ended(frame.into_trailers().unwrap_or_default())),
        };
        incoming.push(&data);
        loop {
            match incoming.next() {
                Ok(None) => return None,
                Ok(Some(message)) => {
                    if !self.kept.answered() {
                        // An answer to nothing: whatever this is, it cannot be relied on.
                        return Some(End::Lost);
                    }
                    *answered = true;
                    let frame = Frame::data(message.framed);
                    if self.answers.send(Ok(frame)).await.is_err() {
                        return Some(End::Done);
                    }
                }
                Err(too_long) => return Some(told(refusal(too_long))),
            }
        }
    }

    fn ended(&self, trailers: HeaderMap) -> End {
        let status = Status::from_header_map(&trailers);
        match status.map_or(Code::Unknown, |status| status.code()) {
            Code::Ok if self.over && self.kept.is_empty() => End::Told(trailers),
            // It ends although there is more to say.
            Code::Ok | Code::Unavailable => End::Lost,
            _ => End::Told(trailers),
        }
    }
}

async fn next(response: &mut Option<Body>) -> Option<Result<Frame<Bytes>, Status>> {
    match response {
        Some(body) => body.frame().await,
        None => std::future::pending().await,
    }
}

/// Sends the next request as soon as there is one and room for it; false when nobody takes
/// it any more.
async fn send(upstream: &Option<Upstream>, kept: &mut Kept) -> bool {
    let Some(upstream) = upstream else {
        return std::future::pending().await;
    };
    if !kept.has_next() {
        return std::future::pending().await;
    }
    let Ok(room) = upstream.reserve().await else {
        return false;
    };
    if let Some(message) = kept.next() {
        room.send(Ok(Frame::data(message)));
    }
    true
}

fn ok() -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )])
}

fn refusal(too_long: TooLong) -> Frame<Bytes> {
    let TooLong { bytes, limit_bytes } = too_long;
    let failure = crate::edge::status::Failure::new(
        Code::OutOfRange,
        "REQUEST_TOO_LARGE",
        too_long.to_string(),
    )
    .with("field", "operations")
    .with("value", format_args!("{bytes} bytes"))
    .with("limit", format_args!("{limit_bytes} bytes"));
    Frame::trailers(failure::trailers(failure))
}

fn told(trailers: Frame<Bytes>) -> End {
    End::Told(trailers.into_trailers().unwrap_or_default())
}
