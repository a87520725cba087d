use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use outrigger_core::saga::{
    Outcome, Phase, StepIndex,
    event::Start,
    ledger::{Answer, View},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Handle, Messages, Options, Participants, Surroundings,
    delivering::Delivered,
    gauges,
    group::{About, Group},
    handle::Request,
    lanes::{LaneKey, Lanes},
    sagas::{Hold, Sagas},
    targets::KnownTargets,
};
use crate::saga::{
    participant::NotTried,
    store::{Refused, Store, Unavailable},
};

/// Most ends and requests that are taken before events go to the log.
const TURN_MAX: usize = 1_024;
/// Longest rest of the loop.
const REST_MS_MAX: u64 = 1_000;

/// Owns sagas and carries them out. See the [module](super).
pub struct Executor {
    pub(super) store: Arc<dyn Store>,
    pub(super) participants: Arc<dyn Participants>,
    pub(super) messages: Arc<dyn Messages>,
    pub(super) options: Arc<Options>,
    pub(super) surroundings: Surroundings,
    pub(super) handle: Handle,
    pub(super) random: SmallRng,
    requests: mpsc::Receiver<Request>,
    pub(super) tasks: JoinSet<Done>,
    pub(super) sagas: Sagas,
    pub(super) groups: Vec<Group>,
    pub(super) lanes: Lanes,
    pub(super) targets: KnownTargets,
    /// When sagas have to be looked at.
    pub(super) looks: BTreeSet<(u64, Hold)>,
    /// Sagas that are to be read.
    pub(super) to_read: VecDeque<Hold>,
    pub(super) reads: usize,
    /// Lanes in which there is room again.
    pub(super) freed: BTreeSet<LaneKey>,
    /// The saga that is being started just now.
    pub(super) beginning: Option<(Hold, Start)>,
    /// What the beats under way may take at most.
    pub(super) promised: usize,
    pub(super) drain: Option<Drain>,
    pub(super) gauges_at: Instant,
    #[cfg(test)]
    pub(super) planted: Option<super::planted::Planted>,
}

pub(super) struct Drain {
    until: Instant,
    done: oneshot::Sender<()>,
}

type Answers = Result<Vec<Result<Answer, Refused>>, Unavailable>;

/// Something that was under way has ended.
pub(super) enum Done {
    Submitted {
        group: u32,
        about: Vec<About>,
        answers: Answers,
    },
    Beat {
        group: u32,
        sent: Instant,
        promised: usize,
        answers: Answers,
    },
    Read {
        hold: Hold,
        view: Result<Option<Box<View>>, Unavailable>,
    },
    Called {
        hold: Hold,
        call: Called,
        lane: Option<LaneKey>,
        /// Nothing: somebody will report how it ended.
        outcome: Option<Result<Outcome, NotTried>>,
    },
    Delivered {
        hold: Hold,
        /// What became of each place that was tried.
        places: Vec<Delivered>,
    },
}

/// Which call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called {
    pub(super) step: StepIndex,
    pub(super) phase: Phase,
    pub(super) attempt: u32,
}

impl Executor {
    /// An executor, which does nothing before [`Executor::run`], and what it is asked through.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        participants: Arc<dyn Participants>,
        messages: Arc<dyn Messages>,
        options: Options,
        surroundings: Surroundings,
    ) -> (Handle, Self) {
        let options = Arc::new(options);
        let (handle, requests) = Handle::new(
            Arc::clone(&store),
            Arc::clone(&options),
            surroundings.clone(),
        );
        let now = Instant::now();
        let groups = (0..store.placement().groups()).map(|_| Group::new(now));
        let executor = Self {
            groups: groups.collect(),
            lanes: Lanes::new(&options),
            random: SmallRng::seed_from_u64(surroundings.seed),
            handle: handle.clone(),
            store,
            participants,
            messages,
            options,
            surroundings,
            requests,
            tasks: JoinSet::new(),
            sagas: Sagas::default(),
            targets: KnownTargets::default(),
            looks: BTreeSet::new(),
            to_read: VecDeque::new(),
            reads: 0,
            freed: BTreeSet::new(),
            beginning: None,
            promised: 0,
            drain: None,
            gauges_at: now,
            #[cfg(test)]
            planted: None,
        };
        (handle, executor)
    }

    /// Carries sagas out until it is drained. Dropping it in between is what a crash is:
    /// what it owns is taken over when its lease is over.
    pub async fn run(mut self) {
        gauges::describe();
        loop {
            self.turn();
            if self.is_drained() {
                break;
            }
            let rest = self.rest_until();
            tokio::select! {
                biased;
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.take_done(done);
                }
                Some(request) = self.requests.recv() => self.take_request(request),
                () = sleep_until(rest) => {}
            }
            for _ in 0..TURN_MAX {
                let Some(done) = self.tasks.try_join_next() else {
                    break;
                };
                self.take_done(done);
            }
            for _ in 0..TURN_MAX {
                let Ok(request) = self.requests.try_recv() else {
                    break;
                };
                self.take_request(request);
            }
        }
        self.give_back().await;
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.surroundings.now_ms)()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// What is due, and what has gathered.
    fn turn(&mut self) {
        self.look_at_what_is_due();
        self.open_lanes();
        self.beat();
        self.read();
        self.submit();
    }

    fn rest_until(&self) -> Instant {
        let now_ms = self.now_ms();
        let look_at_ms = self.looks.first().map(|(at_ms, _)| *at_ms);
        let next_ms = [look_at_ms, self.lanes.next_opening_ms()];
        let next_ms = next_ms.into_iter().flatten().min();
        let rest_ms = next_ms.map_or(REST_MS_MAX, |at_ms| at_ms.saturating_sub(now_ms));
        let rest = Instant::now() + Duration::from_millis(rest_ms.min(REST_MS_MAX));
        let beats = self.groups.iter().filter(|group| !group.is_beating);
        let beats = beats.map(|group| group.beat_at);
        let drain = self.drain.as_ref().map(|drain| drain.until);
        beats.chain(drain).chain([rest]).min().unwrap_or(rest)
    }

    fn take_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Submitted {
                group,
                about,
                answers,
            }) => self.submitted(group, about, answers),
            Ok(Done::Beat {
                group,
                sent,
                promised,
                answers,
            }) => self.beaten(group, sent, promised, answers),
            Ok(Done::Read { hold, view }) => self.has_read(hold, view),
            Ok(Done::Called {
                hold,
                call,
                lane,
                outcome,
            }) => self.called(hold, call, lane, outcome),
            Ok(Done::Delivered { hold, places }) => self.delivered(hold, places),
            // The process ends when something panics; nothing is ever cancelled.
            Err(error) => tracing::error!(%error, "a call of a saga was cut off"),
        }
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Start(new) => self.start(*new),
            Request::Poke(saga) => self.poke(&saga),
            Request::Wait { saga, settled } => self.wait(&saga, settled),
            Request::Drain { limit, done } => {
                let until = Instant::now() + limit;
                tracing::info!(sagas = self.sagas.in_memory(), "sagas are given back");
                self.drain.get_or_insert(Drain { until, done });
            }
        }
    }

    fn is_drained(&self) -> bool {
        let Some(drain) = &self.drain else {
            return false;
        };
        let groups = self.groups.iter().all(Group::is_idle);
        let idle = groups && self.lanes.under_way() == 0;
        idle || Instant::now() >= drain.until
    }

    /// Everything is anybody's.
    async fn give_back(mut self) {
        self.sagas.iter_mut().for_each(|held| held.send_away());
        self.requests.close();
        self.disown().await;
        if let Some(drain) = self.drain {
            let _ = drain.done.send(());
        }
    }

    pub(super) fn chance(&mut self) -> u64 {
        self.random.random()
    }
}
