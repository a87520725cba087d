use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use outrigger_core::lease::{self, Extend, Nack, Place, Receipt, ReceiptError};
use outrigger_log::{Command, Outcome};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tonic::Code;

use super::{
    Filter, GroupInfo, NotRecorded, Options, Store, TopicInfo,
    lane::{Lane, Recording},
    member::{Batch, Member},
    registry::Registry,
    ticket::Part,
};
use crate::{clock, edge::status::Failure};

/// Calls taken at a time.
const CALLS_COUNT_MAX: usize = 256;
/// Calls that wait for a worker.
pub(super) const CALLS_WAITING_MAX: usize = 1_024;
/// Messages leased before calls are looked at again.
const LEASES_PER_TURN_MAX: usize = 4_096;
/// Wait before an overloaded log is tried again.
const RECORD_RETRY_MS: u64 = 5;

/// Wait before the others are asked again whether this node leads.
const CONFIRM_RETRY_MS: u64 = 50;

/// Where to reach the worker of a consumer group and topic. As long as somebody has it,
/// the worker does not end.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) topic: TopicInfo,
    pub(super) calls: mpsc::Sender<Call>,
    /// A member has more credits.
    pub(super) more_credits: Notify,
}

/// What is asked of a worker.
#[derive(Debug)]
pub(super) enum Call {
    Join {
        member: Member,
        filter: Arc<Filter>,
        joined: oneshot::Sender<Result<(), Conflict>>,
    },
    Leave {
        member: u64,
        left: oneshot::Sender<()>,
    },
    Settle(Vec<(u32, How)>),
    /// Leased but never sent.
    Release(Vec<Receipt>),
    /// Leased, but the filter does not match.
    FilteredOut(Vec<Receipt>),
}

/// Another live member of the consumer group has another filter for the topic.
#[derive(Debug)]
pub(super) struct Conflict;

/// What is to become of some leases of one queue.
pub(super) enum How {
    Ack(Part),
    Nack(Part, Vec<Nack>),
    Extend(Part, Vec<Extend>),
}

impl std::fmt::Debug for How {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, part) = match self {
            Self::Ack(part) => ("Ack", part),
            Self::Nack(part, _) => ("Nack", part),
            Self::Extend(part, _) => ("Extend", part),
        };
        to.debug_tuple(what).field(&part.receipts).finish()
    }
}

type Recorded = (Vec<Recording>, Result<Vec<Outcome>, NotRecorded>);

/// The task behind a [`Worker`].
pub(super) struct Task {
    store: Arc<dyn Store>,
    options: Options,
    me: Arc<Worker>,
    registry: Registry,
    group: GroupInfo,
    lanes: Vec<Lane>,
    members: VecDeque<Member>,
    filter: Arc<Filter>,
    /// Where the next turn begins, so that no queue is always last.
    next_lane: usize,
    recording: FuturesUnordered<BoxFuture<'static, Recorded>>,
    visible: Option<watch::Receiver<u64>>,
    busy_at: Instant,
    /// Nobody may be delivered anything before this says that this node still leads.
    confirming: Option<BoxFuture<'static, bool>>,
    /// It has just been confirmed.
    confirmed: bool,
}

impl Task {
    pub(super) fn new(
        store: Arc<dyn Store>,
        options: Options,
        me: Arc<Worker>,
        registry: Registry,
        group: GroupInfo,
    ) -> Self {
        // Nonces grow from one worker to the next because they start from the clock.
        let first_nonce = clock::now_ms() << 20;
        let lane_options = lease::Options {
            max_attempts: group.max_attempts,
            retry_delays_ms: group.retry_delays_ms.to_vec(),
            held_count_max: options.held_count_max,
            ..lease::Options::default()
        };
        let visible = store.watch(me.topic.id);
        let lane = |queue| {
            let place = Place {
                term: store.term(),
                group: group.id.0,
                topic: me.topic.id.0,
                queue,
            };
            Lane::new(place, lane_options.clone(), &*store, first_nonce)
        };
        Self {
            lanes: (0..me.topic.queues).map(lane).collect(),
            store,
            options,
            me,
            registry,
            group,
            members: VecDeque::new(),
            filter: Arc::default(),
            next_lane: 0,
            recording: FuturesUnordered::new(),
            visible,
            busy_at: Instant::now(),
            confirming: None,
            confirmed: false,
        }
    }

    /// Runs until nobody needs it any more.
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        let mut waiting = Vec::with_capacity(CALLS_COUNT_MAX);
        loop {
            let more = self.turn();
            let idle_at = self.busy_at + Duration::from_millis(self.options.idle_ms);
            let wake_at = self.next_deadline().map_or(idle_at, |at| at.min(idle_at));
            let may_record = self.recording.len() < self.options.recordings_max;
            tokio::select! {
                biased;
                Some(recorded) = self.recording.next() => self.recorded(recorded),
                confirmed = confirmation(&mut self.confirming) => self.confirmed = confirmed,
                _ = calls.recv_many(&mut waiting, CALLS_COUNT_MAX), if may_record => {
                    waiting.drain(..).for_each(|call| self.take(call));
                }
                () = std::future::ready(()), if more => tokio::task::yield_now().await,
                () = self.me.more_credits.notified() => {}
                () = became_visible(&mut self.visible) => {}
                () = sleep_until(wake_at) => {}
            }
            if Instant::now() >= idle_at {
                if self.is_idle() && self.registry.end(self.group.id, &self.me, &calls) {
                    return;
                }
                self.busy_at = Instant::now();
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.members.is_empty() && self.recording.is_empty() && self.lanes.iter().all(Lane::is_idle)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let at_ms = self.lanes.iter().filter_map(Lane::next_deadline_ms).min()?;
        let in_ms = at_ms.saturating_sub(clock::now_ms());
        Some(Instant::now() + Duration::from_millis(in_ms))
    }

    fn take(&mut self, call: Call) {
        self.busy_at = Instant::now();
        let now_ms = clock::now_ms();
        match call {
            Call::Join {
                member,
                filter,
                joined,
            } => {
                let answer = self.join(member, filter);
                // Whoever went away in the meantime leaves by itself.
                let _ = joined.send(answer);
            }
            Call::Leave { member, left } => {
                self.members.retain(|known| known.id != member);
                let _ = left.send(());
            }
            Call::Settle(settle) => {
                for (queue, how) in settle {
                    self.settle(now_ms, queue, how);
                }
            }
            Call::Release(receipts) => {
                self.by_lane(&receipts, |lane, own| lane.release(now_ms, own));
            }
            Call::FilteredOut(receipts) => {
                self.by_lane(&receipts, |lane, own| lane.filtered_out(now_ms, own));
            }
        }
    }

    fn join(&mut self, member: Member, filter: Arc<Filter>) -> Result<(), Conflict> {
        self.members.retain(|known| !known.deliver.is_closed());
        if self.members.is_empty() {
            self.filter = filter;
        } else if self.filter != filter {
            return Err(Conflict);
        }
        self.members.push_back(member);
        Ok(())
    }

    fn settle(&mut self, now_ms: u64, queue: u32, how: How) {
        let Some(lane) = self.lanes.get_mut(queue as usize) else {
            let (How::Ack(part) | How::Nack(part, _) | How::Extend(part, _)) = how;
            let unknown = |receipt: &Receipt| (*receipt, ReceiptError::Unknown);
            let errors: Vec<_> = part.receipts.iter().map(unknown).collect();
            part.done(errors);
            return;
        };
        match how {
            How::Ack(part) => lane.ack(part),
            How::Nack(part, nacks) => lane.nack(now_ms, part, &nacks),
            How::Extend(part, extends) => lane.extend(now_ms, part, &extends),
        }
    }

    fn by_lane(&mut self, receipts: &[Receipt], mut give: impl FnMut(&mut Lane, &[Receipt])) {
        for own in receipts.chunk_by(|a, b| a.place.queue == b.place.queue) {
            let queue = own.first().map(|receipt| receipt.place.queue as usize);
            if let Some(lane) = queue.and_then(|queue| self.lanes.get_mut(queue)) {
                give(lane, own);
            }
        }
    }

    /// Acks, then deliveries, then one record of everything. True when there is more to
    /// deliver.
    fn turn(&mut self) -> bool {
        let now_ms = clock::now_ms();
        for lane in &mut self.lanes {
            lane.tick(now_ms);
            lane.flush_acks(now_ms);
        }
        let more = self.may_deliver() && self.deliver(now_ms);
        let mut commands = Vec::new();
        let mut recordings = Vec::new();
        for lane in &mut self.lanes {
            recordings.append(&mut lane.take_records(&mut commands));
        }
        if !commands.is_empty() {
            let retry_ms_max = self.options.record_retry_ms_max;
            let recorded = record(Arc::clone(&self.store), commands, retry_ms_max);
            self.recording
                .push(Box::pin(async { (recordings, recorded.await) }));
        }
        more
    }

    /// False while another node may lead; then the others are being asked.
    fn may_deliver(&mut self) -> bool {
        if self.members.is_empty() {
            return false;
        }
        if std::mem::take(&mut self.confirmed) || self.store.has_lease() {
            return true;
        }
        if self.confirming.is_none() {
            let asked = self.store.confirm();
            self.confirming = Some(Box::pin(async {
                let confirmed = asked.await;
                if !confirmed {
                    sleep(Duration::from_millis(CONFIRM_RETRY_MS)).await;
                }
                confirmed
            }));
        }
        false
    }

    /// Leases what the members have credits for, in chunks, so that queues and members
    /// take turns.
    fn deliver(&mut self, now_ms: u64) -> bool {
        let mut given = 0;
        let mut fruitless = 0;
        while fruitless < self.lanes.len() {
            if given >= LEASES_PER_TURN_MAX {
                return true;
            }
            self.next_lane = (self.next_lane + 1) % self.lanes.len();
            let delivered = self.deliver_chunk(now_ms);
            let Some(delivered) = delivered else {
                return false;
            };
            given += delivered;
            fruitless = if delivered == 0 { fruitless + 1 } else { 0 };
        }
        false
    }

    /// Leases one chunk of one queue to one member; none when no member wants anything.
    fn deliver_chunk(&mut self, now_ms: u64) -> Option<usize> {
        let wants = |member: &Member| member.credits.available() > 0 && !member.deliver.is_closed();
        let next = self.members.iter().position(wants)?;
        self.members.rotate_left(next);
        let member = self.members.front()?;
        let lane = self.lanes.get_mut(self.next_lane)?;
        let chunk = u32::try_from(self.options.chunk_count_max).unwrap_or(u32::MAX);
        let taken = member.credits.take(chunk);
        let messages = lane.receive(
            now_ms,
            taken as usize,
            member.invisible_ms,
            &self.filter,
            &*self.store,
        );
        let count = messages.len();
        member
            .credits
            .put_back(taken - u32::try_from(count).unwrap_or(taken));
        if count > 0 {
            let batch = Batch {
                worker: Arc::clone(&self.me),
                filter: Arc::clone(&self.filter),
                messages,
            };
            if let Err(gone) = member.deliver.send(batch) {
                lane.release(now_ms, &gone.0.receipts());
            }
            self.members.rotate_left(1);
            self.busy_at = Instant::now();
        }
        Some(count)
    }

    fn recorded(&mut self, (recordings, result): Recorded) {
        let now_ms = clock::now_ms();
        let (outcomes, failure) = match result {
            Ok(outcomes) => {
                let refused = Failure::new(
                    Code::Internal,
                    "RECORD_REFUSED",
                    "the log refused to record this",
                );
                (outcomes, refused)
            }
            Err(NotRecorded { failure, .. }) => {
                tracing::warn!(topic = self.me.topic.id.0, %failure.message, "acks not recorded");
                (Vec::new(), failure)
            }
        };
        let mut outcomes = outcomes.into_iter();
        for recording in recordings {
            let own: Vec<Outcome> = outcomes.by_ref().take(recording.commands).collect();
            let applied = own
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Applied));
            let recorded = own.len() == recording.commands && applied;
            if let Some(refused) = own.iter().find(|o| matches!(o, Outcome::Refused(_))) {
                tracing::error!(
                    topic = self.me.topic.id.0,
                    ?refused,
                    "the log refused a record"
                );
            }
            if let Some(lane) = self.lanes.get_mut(recording.lane as usize) {
                lane.recorded(now_ms, recording.id, recorded, &failure);
            }
        }
    }
}

async fn confirmation(confirming: &mut Option<BoxFuture<'static, bool>>) -> bool {
    let Some(asked) = confirming else {
        return std::future::pending().await;
    };
    let confirmed = asked.await;
    *confirming = None;
    confirmed
}

async fn became_visible(visible: &mut Option<watch::Receiver<u64>>) {
    match visible {
        Some(receiver) => {
            if receiver.changed().await.is_err() {
                *visible = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Records, and tries again for a while when the log is overloaded. The first try is taken
/// before this returns, so that records keep their order.
fn record(
    store: Arc<dyn Store>,
    commands: Vec<Command>,
    retry_ms_max: u64,
) -> impl Future<Output = Result<Vec<Outcome>, NotRecorded>> + Send + 'static {
    let mut recording = store.record(commands.clone());
    let give_up_at = Instant::now() + Duration::from_millis(retry_ms_max);
    async move {
        loop {
            match recording.await {
                Err(refused) if refused.try_again && Instant::now() < give_up_at => {
                    sleep(Duration::from_millis(RECORD_RETRY_MS)).await;
                    recording = store.record(commands.clone());
                }
                result => return result,
            }
        }
    }
}
