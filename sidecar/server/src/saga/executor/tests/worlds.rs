//! Random worlds: executors that crash, a log that loses commands and answers, participants
//! that refuse, stay mute and go away, and people. Then it gets calm, everything has to end,
//! and the books have to agree.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use outrigger_core::saga::{
    Definition, child_id,
    definition::{Action, Attempts, Delivery, Draft, DraftStep, Mode, Target, Undo},
    event::{Act, Note},
    ledger::Command,
    record::{ResultState, Status},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::{Instant, sleep};

use super::{
    super::{Failed, Handle, Options, planted::Planted},
    Clock, MemoryStore, Running, World, call,
    participants::Moods,
    run_planted, start_of,
    store::Faults,
};
use crate::saga::store::Store as _;

const SAGAS: usize = 10;
const EXECUTORS: usize = 3;
const CHAOS: Duration = Duration::from_secs(60);
/// Longest time in which everything ends when nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(3_600);
const WORLDS: u64 = 60;

#[test]
fn every_saga_ends_with_all_of_its_effects_or_none() {
    let mut ends = BTreeMap::new();
    for seed in 0..WORLDS {
        let ended = in_world(seed, None).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        for (end, count) in ended {
            *ends.entry(end).or_insert(0) += count;
        }
    }
    // It would say nothing if all went well, or nothing did.
    for end in ["completed", "undone", "child completed", "child undone"] {
        assert!(ends.get(end).copied().unwrap_or(0) > 2, "{ends:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    assert_eq!(in_world(3, None), in_world(3, None));
}

#[test]
fn mistakes_are_noticed() {
    for planted in Planted::ALL {
        let reason = match planted {
            Planted::CallsTooEarly | Planted::TakesUnknownAsDone => "before that is durable",
            Planted::ForgetsActs | Planted::HearsTooMuch | Planted::KeepsLanesClosed => {
                "it does not end"
            }
        };
        let noticed = (0..WORLDS).find_map(|seed| {
            let fault = in_world(seed, Some(planted)).err()?;
            fault.contains(reason).then_some((seed, fault))
        });
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{planted:?} is not noticed"));
        // It is the mistake that is noticed, not the world.
        assert!(in_world(seed, None).is_ok(), "{planted:?}, seed {seed}");
        println!("{planted:?}: {noticed}");
    }
}

type Ends = BTreeMap<&'static str, u32>;

fn in_world(seed: u64, planted: Option<Planted>) -> Result<Ends, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(Chaos::new(seed, planted).live())
}

struct Chaos {
    clock: Clock,
    store: MemoryStore,
    world: World,
    random: SmallRng,
    planted: Option<Planted>,
    executors: Vec<Option<Running>>,
    numbers: u32,
    /// Those that applications can ask.
    handles: Arc<Mutex<Vec<Handle>>>,
    definitions: Vec<Arc<Definition>>,
}

impl Chaos {
    fn new(seed: u64, planted: Option<Planted>) -> Self {
        let clock = Clock::new();
        let store = MemoryStore::new(clock, 2, seed);
        let world = World::new(&store, seed);
        Self {
            clock,
            world,
            store,
            random: SmallRng::seed_from_u64(seed),
            planted,
            executors: (0..EXECUTORS).map(|_| None).collect(),
            numbers: 0,
            handles: Arc::default(),
            definitions: Vec::new(),
        }
    }

    async fn live(mut self) -> Result<Ends, String> {
        self.define();
        for at in 0..EXECUTORS {
            self.begin(at);
        }
        self.store.set_faults(Faults {
            lost: 40,
            unanswered: 60,
            late: 20,
            slow_ms: 30,
        });
        self.world.set_moods(Moods {
            refusing: 60,
            mute: 80,
            broken: 80,
            ongoing: 40,
            repeated: 100,
            slow_ms: 150,
        });
        for at in 0..SAGAS {
            self.start(at);
        }
        let until = Instant::now() + CHAOS;
        while Instant::now() < until {
            sleep(Duration::from_millis(self.random.random_range(1..1_500))).await;
            self.disturb().await;
        }
        self.store.set_faults(Faults::default());
        self.world.set_moods(Moods::default());
        (0..3).for_each(|host| self.world.set_dead(&format!("p{host}:80"), false));
        for at in 0..EXECUTORS {
            if self.executors[at].is_none() {
                self.begin(at);
            }
        }
        let calmed = self.calm_down().await;
        if let Some(fault) = self.world.faults().first() {
            return Err(fault.clone());
        }
        calmed?;
        // What was still on its way arrives.
        sleep(Duration::from_secs(60)).await;
        self.judge()
    }

    fn define(&mut self) {
        for at in 0..3 {
            let draft = self.draft(&format!("random-{at}"));
            self.keep(draft);
        }
        let mut child = self.draft("child");
        (child.mode, child.deliveries) = (Mode::Saga, Vec::new());
        for step in &mut child.steps {
            (step.pivot, step.confirm) = (false, None);
            step.undo = Undo::Call(self.action("undo"));
        }
        let child = self.keep(child);
        let mut parent = self.draft("parent");
        parent.mode = Mode::Saga;
        for step in &mut parent.steps {
            (step.pivot, step.confirm) = (false, None);
            step.undo = Undo::Call(self.action("undo"));
        }
        parent.steps[0].undo = Undo::Unspecified;
        parent.steps[0].action = Action::new(Target::Saga {
            definition: "child".to_owned(),
            version: child.version(),
        });
        self.keep(parent);
    }

    fn keep(&mut self, draft: Draft) -> Arc<Definition> {
        let definition = Arc::new(Definition::new(draft).unwrap());
        self.store.define(&definition);
        self.definitions.push(Arc::clone(&definition));
        definition
    }

    fn draft(&mut self, name: &str) -> Draft {
        let tcc = self.random.random_bool(0.25);
        let mut draft = Draft::new(name, if tcc { Mode::Tcc } else { Mode::Saga });
        let steps = self.random.random_range(1..=4);
        let pivot = self.random.random_range(0..steps);
        let has_pivot = !tcc && self.random.random_bool(0.3);
        for at in 0..steps {
            let after_pivot = has_pivot && at > pivot;
            let undo = match has_pivot && at >= pivot {
                true => Undo::Unspecified,
                false => Undo::Call(self.action("undo")),
            };
            let mut step = DraftStep::new(format!("step-{at}"), self.action("do"), undo);
            step.pivot = has_pivot && at == pivot;
            step.confirm = tcc.then(|| self.action("confirm"));
            for before in 0..at {
                let forced = step.pivot || (after_pivot && before == pivot);
                if forced || self.random.random_bool(0.5) {
                    step.depends_on.push(format!("step-{before}"));
                }
            }
            draft.steps.push(step);
        }
        if self.random.random_bool(0.3) {
            draft.deadline_ms = Some(self.random.random_range(5_000..60_000));
        }
        if self.random.random_bool(0.4) {
            let url = "http://p0/result".to_owned();
            draft.deliveries.push(Delivery::Webhook { url });
        }
        draft
    }

    fn action(&mut self, name: &str) -> Action {
        let mut action = call(self.random.random_range(0..3), name);
        action.retry.otherwise.cap_ms = 5_000;
        if name == "do" {
            action.retry.otherwise.attempts = Attempts::AtMost(self.random.random_range(2..6));
        }
        action
    }

    fn begin(&mut self, at: usize) {
        self.numbers += 1;
        let options = Options {
            sagas_max: self.random.random_range(1..8),
            take_max: 3,
            calls_per_lane_max: 4,
            ..Options::default()
        };
        let (clock, store, world) = (self.clock, &self.store, &self.world);
        let running = run_planted(clock, store, world, self.numbers, options, self.planted);
        self.executors[at] = Some(running);
        self.show_handles();
    }

    fn show_handles(&self) {
        let running = self.executors.iter().flatten();
        let handles = running.map(|running| running.handle.clone()).collect();
        *self.handles.lock().unwrap() = handles;
    }

    /// An application starts a saga, again and again until it knows that it has begun.
    fn start(&mut self, at: usize) {
        let which = self.random.random_range(0..self.definitions.len());
        let definition = Arc::clone(&self.definitions[which]);
        let mut start = start_of(&definition, &format!("saga-{at}"));
        if self.random.random_bool(0.2) {
            start.start_at_ms = self.clock.now_ms() + self.random.random_range(1..50_000);
        }
        let (handles, mut random) = (Arc::clone(&self.handles), self.random.clone());
        let after = Duration::from_millis(self.random.random_range(0..50_000));
        tokio::spawn(async move {
            sleep(after).await;
            loop {
                let handle = {
                    let handles = handles.lock().unwrap();
                    (!handles.is_empty())
                        .then(|| handles[random.random_range(0..handles.len())].clone())
                };
                if let Some(handle) = handle {
                    match handle.start(Arc::clone(&definition), start.clone()).await {
                        Ok(_) => break,
                        Err(Failed::Refused(refused)) => panic!("{refused}"),
                        Err(Failed::Unavailable(_)) => {}
                    }
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
    }

    async fn disturb(&mut self) {
        let at = self.random.random_range(0..EXECUTORS);
        match self.random.random_range(0..12) {
            0 | 1 => {
                if let Some(running) = self.executors[at].take() {
                    running.task.abort();
                    let _ = running.task.await;
                    self.world.forget(running.number);
                    self.show_handles();
                }
            }
            2 => {
                if let Some(running) = self.executors[at].take() {
                    self.show_handles();
                    running.handle.drain(Duration::from_secs(1)).await;
                    let _ = running.task.await;
                    self.world.forget(running.number);
                }
            }
            3..=5 => {
                if self.executors[at].is_none() {
                    self.begin(at);
                }
            }
            6 => {
                let host = self.random.random_range(0..3);
                self.world.set_dead(&format!("p{host}:80"), true);
            }
            7 | 8 => {
                let host = self.random.random_range(0..3);
                self.world.set_dead(&format!("p{host}:80"), false);
            }
            _ => self.person(),
        }
    }

    /// Does something to a saga, without telling its owner.
    fn person(&mut self) {
        let saga = format!("saga-{}", self.random.random_range(0..SAGAS));
        let act = match self.random.random_range(0..8) {
            0 => Act::Undo,
            1..=3 => Act::Park,
            4 | 5 => Act::Retry {
                step: self.random.random_range(0..4),
            },
            _ => Act::Resume,
        };
        self.act(&saga, act);
    }

    fn act(&self, saga: &str, act: Act) {
        let note = Note {
            by: "anna".to_owned(),
            reason: "looked into it".to_owned(),
        };
        let group = self.store.placement().saga(saga);
        let saga = saga.to_owned();
        // People are told when it is not possible.
        let _ = self.store.now(group, Command::Act { saga, act, note });
    }

    fn ids(&self) -> Vec<String> {
        let sagas = (0..SAGAS).map(|at| format!("saga-{at}"));
        sagas.flat_map(|id| [child_id(&id, "step-0"), id]).collect()
    }

    async fn calm_down(&mut self) -> Result<(), String> {
        let until = Instant::now() + CALM;
        loop {
            sleep(Duration::from_secs(7)).await;
            let mut left = Vec::new();
            for id in self.ids() {
                let Some(record) = self.store.record(&id) else {
                    if !id.contains('/') {
                        left.push(format!("{id} never began"));
                    }
                    continue;
                };
                if matches!(record.status(), Status::Parked { .. }) {
                    self.act(&id, Act::Resume);
                }
                if !record.is_finished() {
                    left.push(format!("{id} is {:?}", record.status()));
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("it does not end: {left:?}"));
            }
        }
    }

    fn judge(&self) -> Result<Ends, String> {
        let mut ends = Ends::new();
        for id in self.ids() {
            let Some(record) = self.store.record(&id) else {
                continue;
            };
            let definition = record.definition();
            let completed = record.status() == Status::Completed;
            let end = match (id.contains('/'), completed) {
                (false, true) => "completed",
                (false, false) => "undone",
                (true, true) => "child completed",
                (true, false) => "child undone",
            };
            *ends.entry(end).or_default() += 1;
            let confirms = i64::from(completed && definition.mode() == Mode::Tcc);
            for step in definition.steps() {
                let name = &step.name;
                let is = match &step.action.target {
                    Target::Saga { .. } => {
                        let child = self.store.record(&child_id(&id, name));
                        let done = |r: outrigger_core::saga::Record| r.status();
                        (i64::from(child.map(done) == Some(Status::Completed)), 0)
                    }
                    _ => (self.world.effect(&id, name), self.world.confirms(&id, name)),
                };
                let should = (i64::from(completed), confirms);
                if is != should {
                    return Err(format!("{id} is {end}, {name} has {is:?}, not {should:?}"));
                }
            }
            if !definition.deliveries().is_empty() {
                let status = if completed { "completed" } else { "undone" };
                let times = self.world.delivered(&format!("{id}/result/{status}"));
                // Who receives it makes once of at least once. After too many attempts nobody
                // knows whether it has arrived.
                let fits = match record.result_state() {
                    ResultState::Delivered => times == 1,
                    ResultState::GivenUp => times <= 1,
                    ResultState::Pending => false,
                };
                if !fits {
                    let state = record.result_state();
                    return Err(format!("{id}: {times} results, {state:?}"));
                }
            }
        }
        Ok(ends)
    }
}
