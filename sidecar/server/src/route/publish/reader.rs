use std::sync::Arc;

use http::Request;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Status, body::Body};

use super::{
    Answers, Frames, Turn,
    split::{Split, Splitter},
};
use crate::{
    delivery::shutting_down,
    edge::status::Failure,
    forward::{self, Framed, failure},
    route::{router::Groups, wire, wire::Head},
};

/// What room for bytes is counted in.
const ROOM_UNIT_BYTES: usize = 1_024;

/// What the client says: reads its requests, and sends their parts on their way.
pub(super) struct Reader {
    groups: Arc<Groups>,
    head: Head,
    requests: Body,
    frames: forward::Frames,
    splitter: Splitter,
    /// The streams to the data groups, as far as there are any.
    streams: Vec<Option<Frames>>,
    turns: mpsc::Sender<Turn>,
    /// For what is without an answer.
    room: Arc<Semaphore>,
    room_units: u32,
}

/// Nobody wants the answers any more.
struct Gone;

impl Reader {
    pub(super) fn new(
        groups: Arc<Groups>,
        request: Request<Body>,
        turns: mpsc::Sender<Turn>,
    ) -> Self {
        let (parts, requests) = request.into_parts();
        let units = groups.options.publish_bytes_max / ROOM_UNIT_BYTES;
        let units = units.clamp(1, u32::MAX as usize >> 3);
        Self {
            head: Request::from_parts(parts, ()),
            requests,
            frames: forward::Frames::new(groups.options.request_bytes_max),
            splitter: Splitter::new(groups.placement),
            streams: vec![None; groups.placement.groups() as usize],
            turns,
            room: Arc::new(Semaphore::new(units)),
            room_units: u32::try_from(units).unwrap_or(u32::MAX),
            groups,
        }
    }

    /// Until the client has said everything, or nobody listens any more. Everything that was
    /// taken before is answered.
    pub(super) async fn run(mut self) {
        let turns = self.turns.clone();
        let said = tokio::select! {
            said = self.read() => said,
            () = turns.closed() => return,
        };
        if let Err(why) = said {
            let trailers = failure::trailers(why);
            // An error means that nobody listens any more.
            let _ = turns.send(Turn::End(trailers)).await;
        }
    }

    async fn read(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.next().await? {
            if self.take(message).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The next request; nothing when the client has ended or is gone.
    async fn next(&mut self) -> Result<Option<Framed>, Failure> {
        loop {
            let next = self.frames.next();
            if let Some(message) = next.map_err(crate::route::failure::too_long)? {
                return Ok(Some(message));
            }
            let frame = tokio::select! {
                frame = self.requests.frame() => frame,
                () = self.groups.closing.cancelled() => return Err(shutting_down()),
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.push(&data);
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    async fn take(&mut self, message: Framed) -> Result<(), Gone> {
        let bytes = message.bytes().len();
        let room = self.room(bytes).await?;
        let split = match wire::content(&message) {
            Ok(content) => self
                .splitter
                .split(&message, &content)
                .map_err(Status::from),
            Err(status) => Err(status),
        };
        let Split { parts, plan } = match split {
            Ok(split) => split,
            Err(status) => {
                self.turn(Turn::End(wire::trailers(&status))).await?;
                return Err(Gone);
            }
        };
        let mut opened = Vec::new();
        for (group, _) in &parts {
            if let Some(stream) = self.streams.get_mut(*group as usize)
                && stream.is_none()
                && let Ok(way) = self.groups.way(*group)
            {
                let bytes_max = self.groups.options.response_bytes_max;
                let (parts, answers) = Answers::open(way, &self.head, bytes_max);
                *stream = Some(parts);
                opened.push((*group, answers));
            }
        }
        let turn = Turn::Request {
            opened,
            plan,
            _room: room,
        };
        self.turn(turn).await?;
        for (group, part) in parts {
            if let Some(Some(stream)) = self.streams.get(group as usize) {
                // Why nobody takes it, the answers tell.
                let _ = stream.send(Ok(Frame::data(part.bytes()))).await;
            }
        }
        Ok(())
    }

    /// Waits until so many more bytes may be without an answer. One request always may.
    async fn room(&mut self, bytes: usize) -> Result<OwnedSemaphorePermit, Gone> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.room_units);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        room.map_err(|_| Gone)
    }

    async fn turn(&mut self, turn: Turn) -> Result<(), Gone> {
        self.turns.send(turn).await.map_err(|_| Gone)
    }
}
