use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use outrigger_core::saga::{
    Record, Saga,
    event::{Event, Start},
};
use tokio::sync::oneshot;

use super::{
    handle::{Failed, Notice, Started, is_settled},
    lanes::LaneKey,
};

/// Most that wait for one saga here; further ones read it from time to time.
const WAITERS_PER_SAGA_MAX: usize = 1_024;

/// The time for which this executor has a saga, by number. A number is never used again, so
/// what comes back for a saga that was dropped, or made again, finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hold(u64);

/// A saga in the hands of this executor.
pub(super) struct Held {
    pub(super) id: Arc<str>,
    pub(super) group: u32,
    pub(super) epoch: u64,
    /// Nobody knows whether it was started here, or by somebody else before.
    pub(super) is_doubtful: bool,
    /// The log has given it to this executor while the answer to its start was on its way.
    pub(super) is_taken: bool,
    /// The owner did not count as alive for a while: somebody else may have it. No call
    /// begins before it was read.
    pub(super) is_in_doubt: bool,
    pub(super) state: State,
    /// Somebody else has recorded something: it has to be read.
    pub(super) poked: bool,
    /// It is being read, or is about to be.
    pub(super) reading: bool,
    /// Since that began, events went to the log, or the owner was away: it says nothing for
    /// sure.
    pub(super) read_is_old: bool,
    /// A read has failed: it is repeated then, whatever else the saga has to wait for.
    pub(super) read_again_at_ms: Option<u64>,
    /// Reads in a row that found nothing, although it may have been started here.
    pub(super) empty_reads: u32,
    /// Reads in a row that failed.
    pub(super) failures: u32,
    /// When it has to be looked at.
    pub(super) look_at_ms: Option<u64>,
    /// Where calls of it wait.
    pub(super) lanes: BTreeSet<LaneKey>,
    /// The lane that has woken it up and keeps a place for it.
    pub(super) woken_by: Option<LaneKey>,
    waiters: Vec<oneshot::Sender<Notice>>,
}

pub(super) enum State {
    /// It has to be read; then its machine is made.
    Loading,
    Awake(Box<Awake>),
    /// It waits for something that may take long; its machine is gone.
    Asleep,
}

pub(super) struct Awake {
    pub(super) saga: Saga,
    pub(super) append: Option<Append>,
    /// Nobody has answered yet that it is started: what was asked for, and by whom.
    pub(super) asked: Option<(Start, oneshot::Sender<Result<Started, Failed>>)>,
    /// Bits of the places that have the result.
    pub(super) delivered: u8,
}

/// Events on their way to the log.
pub(super) struct Append {
    pub(super) after: u64,
    pub(super) events: Vec<Event>,
    pub(super) state: AppendState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendState {
    UnderWay,
    /// Nobody knows what became of it.
    Unknown,
    /// It was refused, because others came first.
    Stale,
}

impl Awake {
    pub(super) fn new(saga: Saga) -> Box<Self> {
        Box::new(Self {
            saga,
            append: None,
            asked: None,
            delivered: 0,
        })
    }
}

impl Held {
    pub(super) fn new(id: Arc<str>, group: u32, epoch: u64, state: State) -> Self {
        Self {
            id,
            group,
            epoch,
            is_doubtful: false,
            is_taken: false,
            is_in_doubt: false,
            state,
            poked: false,
            reading: false,
            read_is_old: false,
            read_again_at_ms: None,
            empty_reads: 0,
            failures: 0,
            look_at_ms: None,
            lanes: BTreeSet::new(),
            woken_by: None,
            waiters: Vec::new(),
        }
    }

    pub(super) fn awake(&mut self) -> Option<&mut Awake> {
        match &mut self.state {
            State::Awake(awake) => Some(awake),
            State::Loading | State::Asleep => None,
        }
    }

    pub(super) fn wait(&mut self, settled: oneshot::Sender<Notice>) {
        self.waiters.retain(|waiter| !waiter.is_closed());
        if self.waiters.len() >= WAITERS_PER_SAGA_MAX {
            let _ = settled.send(Notice::Elsewhere);
            return;
        }
        self.waiters.push(settled);
        self.tell();
    }

    /// Tells those who wait, if there is something to tell.
    pub(super) fn tell(&mut self) {
        let State::Awake(awake) = &self.state else {
            return;
        };
        if self.waiters.is_empty() || !is_settled(awake.saga.record()) {
            return;
        }
        let record: &Record = awake.saga.record();
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Notice::Settled(Box::new(record.clone())));
        }
    }

    pub(super) fn take_waiters(&mut self) -> Vec<oneshot::Sender<Notice>> {
        std::mem::take(&mut self.waiters)
    }

    pub(super) fn set_waiters(&mut self, waiters: Vec<oneshot::Sender<Notice>>) {
        self.waiters = waiters;
    }

    /// Nobody hears of it here any more.
    pub(super) fn send_away(&mut self) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Notice::Elsewhere);
        }
    }
}

/// All sagas that this executor has.
#[derive(Default)]
pub(super) struct Sagas {
    by_hold: BTreeMap<Hold, Held>,
    by_id: BTreeMap<Arc<str>, Hold>,
    last: u64,
    asleep: usize,
}

impl Sagas {
    /// Takes a saga in, in place of what was known of it.
    pub(super) fn insert(&mut self, held: Held) -> (Hold, Option<(Hold, Held)>) {
        let replaced = self.find(&held.id);
        let replaced = replaced.and_then(|hold| Some((hold, self.remove(hold)?)));
        self.last += 1;
        let hold = Hold(self.last);
        self.by_id.insert(Arc::clone(&held.id), hold);
        self.by_hold.insert(hold, held);
        (hold, replaced)
    }

    pub(super) fn remove(&mut self, hold: Hold) -> Option<Held> {
        let held = self.by_hold.remove(&hold)?;
        self.by_id.remove(&held.id);
        self.asleep -= usize::from(matches!(held.state, State::Asleep));
        Some(held)
    }

    pub(super) fn find(&self, id: &str) -> Option<Hold> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&mut self, hold: Hold) -> Option<&mut Held> {
        self.by_hold.get_mut(&hold)
    }

    pub(super) fn awake(&mut self, hold: Hold) -> Option<&mut Awake> {
        self.get(hold)?.awake()
    }

    pub(super) fn set_asleep(&mut self, hold: Hold) {
        if let Some(held) = self.by_hold.get_mut(&hold)
            && !matches!(held.state, State::Asleep)
        {
            held.state = State::Asleep;
            self.asleep += 1;
        }
    }

    /// One that is asleep has to be read.
    pub(super) fn wake_up(&mut self, hold: Hold) {
        if let Some(held) = self.by_hold.get_mut(&hold)
            && matches!(held.state, State::Asleep)
        {
            held.state = State::Loading;
            self.asleep -= 1;
        }
    }

    pub(super) fn has(&self, hold: Hold) -> bool {
        self.by_hold.contains_key(&hold)
    }

    /// How many are asleep.
    pub(super) fn asleep(&self) -> usize {
        self.asleep
    }

    /// How many are not.
    pub(super) fn in_memory(&self) -> usize {
        self.by_hold.len() - self.asleep
    }

    /// Those of a data group that are not asleep.
    pub(super) fn in_memory_of(&self, group: u32) -> Vec<Hold> {
        let held = self.by_hold.iter().filter(|(_, held)| held.group == group);
        let in_memory = held.filter(|(_, held)| !matches!(held.state, State::Asleep));
        in_memory.map(|(hold, _)| *hold).collect()
    }

    /// All, when the executor has ended.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.by_hold.values_mut()
    }
}
