use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use outrigger_proto::v1;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Error, PublishOptions,
    completion::Completion,
    frame::{EncodedFrame, Frame, OpenFrame},
};

/// All operations between the callers and their answers, in order:
/// `refused`, then `unanswered`, then `again`, then `ready`, then `open`.
pub(super) struct Buffer {
    options: PublishOptions,
    producer_id: Uuid,
    /// Raised whenever the numbering of sends starts again.
    epoch: u32,
    next_sequence: u64,
    /// Still takes operations.
    open: OpenFrame,
    /// Full, never sent.
    ready: VecDeque<Frame>,
    /// Sent on an earlier stream; go out again before anything else.
    again: VecDeque<Frame>,
    /// Sent on the current stream.
    unanswered: VecDeque<Frame>,
    /// Answered, but without storing their sends, because the sidecar no longer knows our
    /// numbers (it forgets producers that were silent for long). They go out again: under new
    /// numbers when nothing else is without an answer, otherwise under their own, in front of
    /// what is.
    refused: VecDeque<Frame>,
    /// The stream that may take frames; older ones get nothing more.
    stream: u64,
    /// Somebody is looking after the current stream, so nobody has to be called.
    streaming: bool,
    /// The current stream has had its first frame.
    introduced: bool,
    /// The number that has to come next on the current stream, once it has had a send.
    follows: Option<u64>,
    /// The numbering of sends has to start again, on a new stream.
    renumber: bool,
    closed: bool,
    /// Wakes the current stream.
    waker: Option<Waker>,
}

/// What the caller has to do after the lock has been released.
#[must_use]
pub(super) struct Pushed {
    pub(super) completion: Arc<Completion>,
    pub(super) index: usize,
    pub(super) wake: Option<Waker>,
    /// The driver has to open a stream.
    pub(super) call_driver: bool,
}

/// Frames that are over, to be completed after the lock has been released.
pub(super) type Finished = Vec<(Frame, Result<Vec<v1::Outcome>, Error>)>;

impl Buffer {
    pub(super) fn new(options: PublishOptions) -> Self {
        Self {
            options,
            producer_id: crate::message::new_id(),
            epoch: 1,
            next_sequence: 1,
            open: OpenFrame::new(0),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            unanswered: VecDeque::new(),
            refused: VecDeque::new(),
            stream: 0,
            streaming: false,
            introduced: false,
            follows: None,
            renumber: false,
            closed: false,
            waker: None,
        }
    }

    pub(super) fn push(&mut self, operation: &v1::Operation, cost_bytes: usize) -> Pushed {
        let call_driver = !self.streaming && self.is_empty();
        let (completion, index) = self.open.push(operation, cost_bytes);
        if self.open.operations() >= self.options.frame_operations_max
            || self.open.bytes() >= self.options.frame_bytes
        {
            self.ready.push_back(self.open.take());
        }
        let wake = if self.has_room() {
            self.waker.take()
        } else {
            None
        };
        Pushed {
            completion,
            index,
            wake,
            call_driver,
        }
    }

    /// The next frame for the stream numbered `stream`.
    pub(super) fn poll_frame(
        &mut self,
        stream: u64,
        context: &mut Context<'_>,
    ) -> Poll<Option<EncodedFrame>> {
        if stream != self.stream || (self.renumber && self.again.is_empty()) {
            return Poll::Ready(None);
        }
        if !self.has_room() {
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let Some(mut frame) = self.next_frame() else {
            if self.closed {
                return Poll::Ready(None);
            }
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let first = frame.first_sequence.unwrap_or(self.next_sequence);
        if frame.sends > 0 && self.follows.is_some_and(|next| next != first) {
            // What lies between was answered on an earlier stream, but this one knows nothing
            // of it, so it cannot say what follows what. A stream of its own can, as soon as
            // this one is answered.
            match frame.first_sequence {
                Some(_) => self.again.push_front(frame),
                None => self.ready.push_front(frame),
            }
            return Poll::Ready(None);
        }
        if frame.first_sequence.is_none() {
            frame.first_sequence = Some(first);
            self.next_sequence += frame.sends;
        }
        if frame.sends > 0 {
            self.follows = Some(first + frame.sends);
        }
        let producer = (!mem::replace(&mut self.introduced, true)).then(|| v1::ProducerIdentity {
            producer_id: self.producer_id.to_string(),
            epoch: self.epoch,
        });
        let encoded = frame.encode(producer);
        self.unanswered.push_back(frame);
        Poll::Ready(Some(encoded))
    }

    fn next_frame(&mut self) -> Option<Frame> {
        self.again
            .pop_front()
            .or_else(|| self.ready.pop_front())
            .or_else(|| (!self.open.is_empty()).then(|| self.open.take()))
    }

    fn has_room(&self) -> bool {
        self.unanswered.len() < self.options.frames_in_flight_max
    }

    /// Takes the answer to the oldest frame.
    pub(super) fn answered(&mut self, outcomes: Vec<v1::Outcome>) -> (Finished, Option<Waker>) {
        let Some(frame) = self.unanswered.pop_front() else {
            return (Vec::new(), None);
        };
        let misnumbered = outcomes.iter().filter(|outcome| is_misnumbered(outcome));
        let misnumbered = misnumbered.count() as u64;
        if misnumbered > 0 {
            self.renumber = true;
        }
        if misnumbered > 0 && misnumbered == frame.sends {
            self.refused.push_back(frame);
            return (Vec::new(), self.waker.take());
        }
        let outcome = if outcomes.len() == frame.operations {
            Ok(outcomes)
        } else {
            Err(Error::Protocol {
                problem: format!(
                    "{} outcomes for {} operations",
                    outcomes.len(),
                    frame.operations
                ),
            })
        };
        (vec![(frame, outcome)], self.waker.take())
    }

    /// Ends the current stream and begins the next one: whatever was not answered goes out
    /// again, in order.
    pub(super) fn begin_stream(&mut self) -> u64 {
        if self.renumber && self.unanswered.is_empty() && self.again.is_empty() {
            self.begin_epoch();
        }
        // A stream begins with the first send that was not consumed: nobody could tell from
        // what comes later that it is missing. What has no answer may have been stored under
        // its number and must keep it, so what was refused before it keeps its number too.
        self.renumber = false;
        let mut again = mem::take(&mut self.refused);
        again.append(&mut self.unanswered);
        again.append(&mut self.again);
        self.again = again;
        self.stream += 1;
        self.streaming = true;
        self.introduced = false;
        self.follows = None;
        self.waker = None;
        self.stream
    }

    /// Nothing goes out any more until the next stream begins.
    pub(super) fn end_stream(&mut self) {
        self.stream += 1;
        self.streaming = false;
    }

    fn begin_epoch(&mut self) {
        self.renumber = false;
        self.epoch += 1;
        self.next_sequence = 1;
        for frame in &mut self.refused {
            frame.first_sequence = None;
        }
        self.refused.append(&mut self.ready);
        self.ready = mem::take(&mut self.refused);
    }

    /// Gives up what has been tried for too long.
    ///
    /// The sends of a frame that is given up leave a hole in the numbering. What was sent
    /// after it can neither be repeated under its old number nor under a new one, so it is
    /// given up as well; everything later starts in a new epoch.
    pub(super) fn expire(&mut self, now: Instant, cause: &str) -> Finished {
        let mut finished = Vec::new();
        let oldest_sent = self.unanswered.front().or_else(|| self.again.front());
        if oldest_sent.is_some_and(|frame| self.is_expired(frame, now)) {
            finished = self.give_up_sent(now, cause);
        }
        while self
            .ready
            .front()
            .is_some_and(|frame| self.is_expired(frame, now))
        {
            finished.extend(
                self.ready
                    .pop_front()
                    .map(|frame| self.never_sent(frame, now, cause)),
            );
        }
        if self.ready.is_empty() && self.open_is_expired(now) {
            let frame = self.open.take();
            finished.push(self.never_sent(frame, now, cause));
        }
        finished
    }

    /// Gives up everything that has left this process.
    pub(super) fn give_up_sent(&mut self, now: Instant, cause: &str) -> Finished {
        let mut sent = mem::take(&mut self.unanswered);
        sent.append(&mut self.again);
        if self.renumber || sent.iter().any(|frame| frame.sends > 0) {
            self.begin_epoch();
        }
        // The stream they went out on is over.
        self.stream += 1;
        sent.into_iter()
            .map(|frame| {
                let error = Error::Unanswered {
                    waited_ms: elapsed_ms(&frame, now),
                    limit_ms: self.options.retry_total_ms,
                    cause: cause.to_owned(),
                };
                (frame, Err(error))
            })
            .collect()
    }

    fn never_sent(
        &self,
        frame: Frame,
        now: Instant,
        cause: &str,
    ) -> (Frame, Result<Vec<v1::Outcome>, Error>) {
        let error = Error::Unavailable {
            waited_ms: elapsed_ms(&frame, now),
            limit_ms: self.options.retry_total_ms,
            cause: cause.to_owned(),
        };
        (frame, Err(error))
    }

    /// Everything that is left, when nobody is there any more to send it.
    pub(super) fn abandon(&mut self) -> Finished {
        self.closed = true;
        let now = Instant::now();
        let mut finished = self.give_up_sent(now, "the client was closed");
        self.ready.append(&mut self.refused);
        while let Some(frame) = self.next_frame() {
            finished.push((frame, Err(Error::Closed)));
        }
        finished
    }

    fn is_expired(&self, frame: &Frame, now: Instant) -> bool {
        now >= frame.opened_at + self.retry_total()
    }

    fn open_is_expired(&self, now: Instant) -> bool {
        self.open
            .opened_at()
            .is_some_and(|at| now >= at + self.retry_total())
    }

    fn retry_total(&self) -> Duration {
        Duration::from_millis(self.options.retry_total_ms)
    }

    /// When [`Buffer::expire`] has something to do, unless it is answered before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.refused
            .front()
            .or_else(|| self.unanswered.front())
            .or_else(|| self.again.front())
            .or_else(|| self.ready.front())
            .map(|frame| frame.opened_at)
            .or_else(|| self.open.opened_at())
            .map(|opened_at| opened_at + self.retry_total())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.refused.is_empty()
            && self.unanswered.is_empty()
            && self.again.is_empty()
            && self.ready.is_empty()
            && self.open.is_empty()
    }

    /// No operation comes any more; what is there is still sent.
    pub(super) fn close(&mut self) -> Option<Waker> {
        self.closed = true;
        self.waker.take()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }
}

fn elapsed_ms(frame: &Frame, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(frame.opened_at);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// It was not stored, and after such an answer no later send of this epoch can be.
fn is_misnumbered(outcome: &v1::Outcome) -> bool {
    match &outcome.kind {
        Some(v1::outcome::Kind::Error(error)) => {
            error.reason == "SEQUENCE_GAP" || error.reason == "STALE_EPOCH"
        }
        _ => false,
    }
}
