use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::early::{Aftermath, Received};
use super::pending::Answer;
use super::under_way::{Answering, UnderWay};
use super::{Clock, Pending, SubmitError};
use crate::command::{Batch, Command, Durability, Outcome};

/// Commands that go into one entry, at most.
const ENTRY_COMMANDS_MAX: usize = 8_192;
/// Entries on their way, at most. One is being synced and one is being written behind it; the
/// others are being applied or answered. More would only make entries smaller.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;

/// How often it is looked whether everything was answered.
const DRAIN_POLL_MS: u64 = 1;

/// What the batcher keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of commands that were not answered yet.
    pub(crate) in_flight_bytes_max: u64,
    /// Bytes of one entry.
    pub(crate) entry_bytes_max: u64,
    /// Bytes after which an entry takes no further command.
    pub(crate) entry_bytes_target: u64,
}

/// Where entries go.
pub(crate) trait Propose: Send + Sync + 'static {
    /// Proposes an entry; returns at once. `received` is answered when a majority has the entry
    /// in memory. `done` is called when it was applied or refused, and dropped when the node
    /// stops before.
    fn propose(
        &self,
        body: Bytes,
        received: Option<Arc<Received>>,
        done: impl FnOnce(Answer) + Send + 'static,
    );

    /// Why these commands cannot be taken at the moment.
    fn refusal(&self, commands: &[Command]) -> Option<SubmitError>;
}

/// Commands of one client.
struct Submission {
    commands: Vec<Command>,
    bytes: u64,
    answering: Answering,
}

impl Submission {
    fn answer_early(self, durability: Durability, aftermath: &Arc<Aftermath>) -> Self {
        let Answering::Synced(sender) = self.answering else {
            return self;
        };
        let aftermath = Arc::clone(aftermath);
        let answering = match durability {
            Durability::Synced => Answering::Synced(sender),
            Durability::Replicated => Answering::Replicated(sender, aftermath),
            Durability::Accepted => {
                // A client that went away does not need its answer.
                let _ = sender.send(Ok(vec![Outcome::Accepted; self.commands.len()]));
                Answering::Accepted(aftermath)
            }
        };
        Self { answering, ..self }
    }
}

#[derive(Default)]
struct Queue {
    submissions: VecDeque<Submission>,
    closed: bool,
    /// So many want that nothing is proposed.
    paused: usize,
}

/// Taken by whoever answers first.
type Slot = Arc<Mutex<Option<UnderWay>>>;

/// What is on its way. Outside the queue's lock, because an entry may end while it is being
/// proposed under that lock.
#[derive(Default)]
struct Counts {
    /// Bytes of all submissions that were not answered, waiting or on their way.
    in_flight_bytes: AtomicU64,
    entries_in_flight: AtomicUsize,
    /// Submissions that wait for an entry.
    waiting: AtomicUsize,
}

/// Collects what is submitted and proposes it, in order.
pub(crate) struct Batcher<P> {
    limits: Limits,
    clock: Clock,
    propose: P,
    queue: Mutex<Queue>,
    /// The entries that were proposed and not answered; never locked before the queue is.
    under_way: Mutex<Vec<Slot>>,
    counts: Counts,
    /// Woken when an entry was answered while submissions wait.
    wake: Notify,
}

impl<P: Propose> Batcher<P> {
    pub(crate) fn new(limits: Limits, clock: Clock, propose: P) -> Arc<Self> {
        Arc::new(Self {
            limits,
            clock,
            propose,
            queue: Mutex::default(),
            under_way: Mutex::default(),
            counts: Counts::default(),
            wake: Notify::new(),
        })
    }

    /// The clock with which entries are stamped.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Bytes of commands that were not answered yet.
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.counts.in_flight_bytes.load(SeqCst)
    }

    /// Takes commands. All commands of one call keep their order, and calls keep theirs.
    pub(crate) fn submit(self: &Arc<Self>, commands: Vec<Command>) -> Result<Pending, SubmitError> {
        self.take(commands, |submission| submission)
    }

    /// The same, answered as soon as the commands have reached a level. Only sends can be
    /// answered before they are synced.
    pub(crate) fn submit_at(
        self: &Arc<Self>,
        commands: Vec<Command>,
        durability: Durability,
        aftermath: &Arc<Aftermath>,
    ) -> Result<Pending, SubmitError> {
        let sends = |command: &Command| matches!(command, Command::Send { .. });
        if durability == Durability::Synced || !commands.iter().all(sends) {
            return self.submit(commands);
        }
        self.take(commands, |submission| {
            submission.answer_early(durability, aftermath)
        })
    }

    fn take(
        self: &Arc<Self>,
        commands: Vec<Command>,
        taken: impl Fn(Submission) -> Submission,
    ) -> Result<Pending, SubmitError> {
        if let Some(refusal) = self.propose.refusal(&commands) {
            let closed = self.queue().closed;
            return Err(if closed { SubmitError::Closed } else { refusal });
        }
        let (submissions, parts, bytes) = self.divide(commands)?;
        let mut queue = self.queue();
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        // A submission larger than the limit passes when nothing else is on its way.
        let counts = &self.counts;
        let in_flight_bytes = counts.in_flight_bytes.load(SeqCst);
        let limit_bytes = self.limits.in_flight_bytes_max;
        if in_flight_bytes > 0 && in_flight_bytes + bytes > limit_bytes {
            return Err(SubmitError::Overloaded {
                in_flight_bytes,
                limit_bytes,
            });
        }
        counts.in_flight_bytes.fetch_add(bytes, SeqCst);
        counts.waiting.fetch_add(submissions.len(), SeqCst);
        let entries_in_flight = counts.entries_in_flight.load(SeqCst);
        let idle = queue.submissions.is_empty() && entries_in_flight == 0 && queue.paused == 0;
        queue.submissions.extend(submissions.into_iter().map(taken));
        if idle {
            // Nobody to share an entry with: the way through the batcher's task is saved.
            self.propose_next(&mut queue);
        }
        if !queue.submissions.is_empty() && entries_in_flight < ENTRIES_IN_FLIGHT_MAX {
            self.wake.notify_one();
        }
        Ok(Pending::new(parts))
    }

    /// Divides commands into portions that fit into an entry each.
    #[expect(clippy::type_complexity, reason = "the parts of one submission")]
    fn divide(
        &self,
        commands: Vec<Command>,
    ) -> Result<(Vec<Submission>, VecDeque<oneshot::Receiver<Answer>>, u64), SubmitError> {
        let limit = self.limits.entry_bytes_max;
        let mut submissions = Vec::with_capacity(1);
        let mut parts = VecDeque::with_capacity(1);
        let (mut total, mut bytes) = (0, 0);
        let mut portion = Vec::new();
        let mut close = |commands: Vec<Command>, bytes: u64| {
            let (answer, part) = oneshot::channel();
            parts.push_back(part);
            submissions.push(Submission {
                commands,
                bytes,
                answering: Answering::Synced(answer),
            });
        };
        let sizes: u64 = commands.iter().map(size).sum();
        if sizes <= limit && commands.len() <= ENTRY_COMMANDS_MAX {
            if !commands.is_empty() {
                close(commands, sizes);
            }
            return Ok((submissions, parts, sizes));
        }
        for command in commands {
            let size = size(&command);
            if size > limit {
                return Err(SubmitError::TooLarge {
                    bytes: size,
                    limit_bytes: limit,
                });
            }
            if bytes + size > limit || portion.len() >= ENTRY_COMMANDS_MAX {
                close(std::mem::take(&mut portion), bytes);
                bytes = 0;
            }
            bytes += size;
            total += size;
            portion.push(command);
        }
        close(portion, bytes);
        Ok((submissions, parts, total))
    }

    /// Proposes while there is something to propose, until stopped.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            loop {
                let mut queue = self.queue();
                let entries_in_flight = self.counts.entries_in_flight.load(SeqCst);
                let full = entries_in_flight >= ENTRIES_IN_FLIGHT_MAX || queue.paused > 0;
                if full || queue.submissions.is_empty() {
                    break;
                }
                self.propose_next(&mut queue);
            }
        }
    }

    /// Proposes nothing as long as the answer lives. What is taken meanwhile waits.
    pub(crate) fn pause(self: &Arc<Self>) -> Paused<P> {
        self.queue().paused += 1;
        Paused(Arc::clone(self))
    }

    /// How many entries were proposed and not answered yet.
    pub(crate) fn entries_in_flight(&self) -> usize {
        self.counts.entries_in_flight.load(SeqCst)
    }

    /// Takes no more, and waits until what was taken has been answered. What has not been
    /// proposed when the time is over is refused.
    pub(crate) async fn drain(&self, time: Duration) {
        self.queue().closed = true;
        let drained = async {
            while self.in_flight_bytes() > 0 {
                tokio::time::sleep(Duration::from_millis(DRAIN_POLL_MS)).await;
            }
        };
        if tokio::time::timeout(time, drained).await.is_err() {
            tracing::warn!(
                bytes = self.in_flight_bytes(),
                "commands were not answered in time"
            );
        }
        self.refuse_waiting(SubmitError::Closed);
    }

    /// Refuses what has not been proposed yet.
    pub(crate) fn refuse_waiting(&self, refusal: SubmitError) {
        let left = std::mem::take(&mut self.queue().submissions);
        self.counts.waiting.fetch_sub(left.len(), SeqCst);
        for submission in left {
            let bytes = submission.bytes;
            self.counts.in_flight_bytes.fetch_sub(bytes, SeqCst);
            let commands = submission.commands.len();
            submission.answering.fail(commands, refusal);
        }
    }

    /// Waits no longer for what was proposed: nobody knows what becomes of it.
    pub(crate) fn abandon(&self) {
        let slots = std::mem::take(&mut *lock(&self.under_way));
        for slot in slots {
            self.answer(&slot, Err(SubmitError::OutcomeUnknown));
        }
    }

    /// Makes one entry of what is waiting. The queue stays locked until the entry has been
    /// proposed, so that entries are proposed in the order of their submissions.
    fn propose_next(self: &Arc<Self>, queue: &mut Queue) {
        let mut commands = Vec::new();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.submissions.front() {
            let full = bytes + next.bytes > self.limits.entry_bytes_target
                || commands.len() + next.commands.len() > ENTRY_COMMANDS_MAX;
            if full && !commands.is_empty() {
                break;
            }
            let Some(next) = queue.submissions.pop_front() else {
                break;
            };
            bytes += next.bytes;
            waiting.push((next.commands.len(), next.answering));
            if commands.is_empty() {
                commands = next.commands;
            } else {
                commands.extend(next.commands);
            }
        }
        if waiting.is_empty() {
            return;
        }
        let body = Batch::encode(self.clock.now_ms(), &commands);
        self.counts.waiting.fetch_sub(waiting.len(), SeqCst);
        self.counts.entries_in_flight.fetch_add(1, SeqCst);
        let under_way = UnderWay::new(bytes, waiting);
        let received = under_way.received();
        let slot = Arc::new(Mutex::new(Some(under_way)));
        lock(&self.under_way).push(Arc::clone(&slot));
        let entry = InFlight {
            batcher: Arc::clone(self),
            slot,
        };
        self.propose
            .propose(body, received, move |answer| entry.answer(answer));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Answers an entry, unless that has happened already.
    fn answer(&self, slot: &Slot, answer: Answer) {
        let Some(under_way) = lock(slot).take() else {
            return;
        };
        // Room is made before anybody hears of it.
        let bytes = under_way.bytes();
        self.counts.in_flight_bytes.fetch_sub(bytes, SeqCst);
        self.counts.entries_in_flight.fetch_sub(1, SeqCst);
        if self.counts.waiting.load(SeqCst) > 0 {
            self.wake.notify_one();
        }
        under_way.settle(answer);
    }
}

fn size(command: &Command) -> u64 {
    command.encoded_bytes_max() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as it lives, nothing is proposed.
pub(crate) struct Paused<P: Propose>(Arc<Batcher<P>>);

impl<P: Propose> Drop for Paused<P> {
    fn drop(&mut self) {
        self.0.queue().paused -= 1;
        self.0.wake.notify_one();
    }
}

/// An entry that was proposed. However it ends, it is answered.
struct InFlight<P: Propose> {
    batcher: Arc<Batcher<P>>,
    slot: Slot,
}

impl<P: Propose> InFlight<P> {
    fn answer(self, answer: Answer) {
        self.batcher.answer(&self.slot, answer);
    }
}

impl<P: Propose> Drop for InFlight<P> {
    fn drop(&mut self) {
        lock(&self.batcher.under_way).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        self.batcher
            .answer(&self.slot, Err(SubmitError::OutcomeUnknown));
    }
}
