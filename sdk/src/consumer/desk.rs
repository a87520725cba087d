use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use outrigger_proto::v1;
use tokio::{sync::Notify, time::Instant};

use super::{Received, leases::Leases};

/// Requests with acks that may be unanswered. While that many are under way the next one
/// grows, which is how acks are batched without waiting for anything.
const REQUESTS_IN_FLIGHT_MAX: usize = 4;
/// The most receipts in one request.
const RECEIPTS_PER_REQUEST_MAX: usize = 4096;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ack,
    /// With the wait that was asked for.
    Nack(Option<Duration>),
}

/// A message on its way to a handler, and the key of its lease.
pub(super) struct Task {
    pub(super) lease: usize,
    pub(super) received: Received,
}

/// What the stream and the workers share: messages come in, outcomes go out.
pub(super) struct Desk {
    state: Mutex<State>,
    /// Calls workers when there are tasks, or when there will be none any more.
    pub(super) work: Notify,
    /// Calls whoever waits for the confirmation of all acks.
    pub(super) confirmed: Notify,
}

struct State {
    subscribe: v1::Subscribe,
    /// How many messages may be here at a time.
    capacity: u32,
    invisible: Duration,
    tasks: VecDeque<Task>,
    leases: Leases,
    stopping: bool,
    /// No more requests after the last ack.
    closing: bool,

    stream: u64,
    introduced: bool,
    waker: Option<Waker>,
    credits: u32,
    next_request_id: u64,
    outbox: Receipts,
    unanswered: VecDeque<v1::ConsumeRequest>,
    /// Sent on an earlier stream without an answer.
    again: VecDeque<v1::ConsumeRequest>,
    /// Refused for now; tried again at the next tick.
    later: Receipts,
}

#[derive(Default)]
struct Receipts {
    acks: Vec<Bytes>,
    nacks: Vec<v1::Nack>,
    extends: Vec<v1::Extend>,
}

impl Receipts {
    fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.nacks.is_empty() && self.extends.is_empty()
    }
}

impl Desk {
    pub(super) fn new(
        subscribe: v1::Subscribe,
        capacity: u32,
        invisible: Duration,
        handle_time_max: Duration,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                subscribe,
                capacity,
                invisible,
                tasks: VecDeque::new(),
                leases: Leases::new(invisible, handle_time_max),
                stopping: false,
                closing: false,
                stream: 0,
                introduced: false,
                waker: None,
                credits: 0,
                next_request_id: 1,
                outbox: Receipts::default(),
                unanswered: VecDeque::new(),
                again: VecDeque::new(),
                later: Receipts::default(),
            }),
            work: Notify::new(),
            confirmed: Notify::new(),
        }
    }

    /// A new stream: everything that was not confirmed is said again, and whatever room
    /// there is is offered again.
    pub(super) fn begin_stream(&self) -> u64 {
        let mut state = self.lock();
        let mut again = mem::take(&mut state.unanswered);
        again.append(&mut state.again);
        state.again = again;
        state.introduced = false;
        state.waker = None;
        let held = u32::try_from(state.leases.len()).unwrap_or(u32::MAX);
        state.credits = state.capacity.saturating_sub(held);
        state.stream += 1;
        state.stream
    }

    /// Takes what the sidecar delivered.
    pub(super) fn deliver(&self, deliveries: Vec<v1::Delivery>, group: &Arc<str>) {
        let now = Instant::now();
        let mut state = self.lock();
        for delivery in deliveries {
            let (received, receipt) = Received::new(delivery, group);
            let lease = state.leases.insert(receipt, now);
            state.tasks.push_back(Task { lease, received });
        }
        if state.stopping {
            state.give_back();
        }
        let waker = state.waker.take();
        drop(state);
        self.work.notify_waiters();
        wake(waker);
    }

    /// Up to `max` messages to work on.
    pub(super) fn take(&self, max: usize, tasks: &mut Vec<Task>) {
        let mut state = self.lock();
        let count = max.min(state.tasks.len());
        tasks.extend(state.tasks.drain(..count));
    }

    /// Takes and empties the list of what is done.
    pub(super) fn finish(&self, done: &mut Vec<(usize, Outcome)>) {
        if done.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (lease, outcome) in done.drain(..) {
            state.finish(lease, outcome);
        }
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Prolongs what is due, and tries again what was refused for now.
    pub(super) fn tick(&self) {
        let mut state = self.lock();
        let State {
            leases,
            outbox,
            later,
            invisible,
            ..
        } = &mut *state;
        let invisible_ms = u64::try_from(invisible.as_millis()).unwrap_or(u64::MAX);
        leases.due(Instant::now(), |receipt| {
            outbox.extends.push(v1::Extend {
                receipt,
                invisible_ms,
            });
        });
        outbox.acks.append(&mut later.acks);
        outbox.nacks.append(&mut later.nacks);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// The next request for the stream numbered `stream`.
    pub(super) fn poll_request(
        &self,
        stream: u64,
        context: &mut Context<'_>,
    ) -> Poll<Option<v1::ConsumeRequest>> {
        let mut state = self.lock();
        if stream != state.stream {
            return Poll::Ready(None);
        }
        match state.next_request() {
            Some(request) => Poll::Ready(Some(request)),
            None if state.closing && state.unconfirmed() == 0 => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes the answer to one request.
    pub(super) fn answered(&self, result: v1::ConsumeResult) {
        let mut state = self.lock();
        let place = state
            .unanswered
            .iter()
            .position(|request| request.request_id == result.request_id);
        let request = place.and_then(|place| state.unanswered.remove(place));
        for refused in result.errors {
            state.refused(refused, request.as_ref());
        }
        let waker = state.waker.take();
        let is_confirmed = state.unconfirmed() == 0;
        drop(state);
        wake(waker);
        if is_confirmed {
            self.confirmed.notify_one();
        }
    }

    /// No more messages: what nobody works on goes back.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.give_back();
        let waker = state.waker.take();
        drop(state);
        self.work.notify_waiters();
        wake(waker);
    }

    /// The workers have ended: after the last confirmation the stream may end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        self.confirmed.notify_one();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Acks and nacks whose result is not known.
    pub(super) fn unconfirmed(&self) -> usize {
        self.lock().unconfirmed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn finish(&mut self, lease: usize, outcome: Outcome) {
        let Some(receipt) = self.leases.remove(lease) else {
            return;
        };
        match outcome {
            Outcome::Ack => self.outbox.acks.push(receipt),
            Outcome::Nack(delay) => self.outbox.nacks.push(v1::Nack {
                receipt,
                delay_ms: delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            }),
        }
        if !self.stopping {
            self.credits += 1;
        }
    }

    /// Returns what nobody works on yet, for somebody else to take at once.
    fn give_back(&mut self) {
        self.credits = 0;
        while let Some(task) = self.tasks.pop_front() {
            self.finish(task.lease, Outcome::Nack(Some(Duration::ZERO)));
        }
    }

    fn next_request(&mut self) -> Option<v1::ConsumeRequest> {
        if !mem::replace(&mut self.introduced, true) {
            return Some(v1::ConsumeRequest {
                subscribe: Some(self.subscribe.clone()),
                credits: mem::take(&mut self.credits),
                ..v1::ConsumeRequest::default()
            });
        }
        if self.unanswered.len() >= REQUESTS_IN_FLIGHT_MAX {
            return None;
        }
        if let Some(request) = self.again.pop_front() {
            self.unanswered.push_back(request.clone());
            return Some(request);
        }
        if self.outbox.is_empty() {
            return (self.credits > 0).then(|| v1::ConsumeRequest {
                credits: mem::take(&mut self.credits),
                ..v1::ConsumeRequest::default()
            });
        }
        let request = v1::ConsumeRequest {
            request_id: self.next_request_id,
            acks: first(&mut self.outbox.acks),
            nacks: first(&mut self.outbox.nacks),
            extends: first(&mut self.outbox.extends),
            ..v1::ConsumeRequest::default()
        };
        self.next_request_id += 1;
        self.unanswered.push_back(request.clone());
        Some(v1::ConsumeRequest {
            // Only now, because credits must not be given again with a repeated request.
            credits: mem::take(&mut self.credits),
            ..request
        })
    }

    /// What is refused for now is said again as it was said: a nack that came back as an ack
    /// would lose its message.
    fn refused(&mut self, refused: v1::ReceiptError, request: Option<&v1::ConsumeRequest>) {
        let refusal = crate::Refusal::from(refused.error.unwrap_or_default());
        if !refusal.is_retryable() {
            // The lease had ended and the message was delivered again.
            tracing::debug!(%refusal, "a receipt was refused");
            return;
        }
        let Some(request) = request else { return };
        if request.acks.contains(&refused.receipt) {
            self.later.acks.push(refused.receipt);
            return;
        }
        let nacks = &request.nacks;
        let nack = nacks.iter().find(|nack| nack.receipt == refused.receipt);
        // Extends are not said again: the next one comes by itself.
        self.later.nacks.extend(nack.cloned());
    }

    fn unconfirmed(&self) -> usize {
        let receipts = |request: &v1::ConsumeRequest| request.acks.len() + request.nacks.len();
        self.outbox.acks.len()
            + self.outbox.nacks.len()
            + self.later.acks.len()
            + self.later.nacks.len()
            + self.unanswered.iter().map(receipts).sum::<usize>()
            + self.again.iter().map(receipts).sum::<usize>()
    }
}

/// Takes the first so many, in order.
fn first<T>(list: &mut Vec<T>) -> Vec<T> {
    if list.len() <= RECEIPTS_PER_REQUEST_MAX {
        return mem::take(list);
    }
    let rest = list.split_off(RECEIPTS_PER_REQUEST_MAX);
    mem::replace(list, rest)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
