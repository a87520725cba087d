//! Participants whose databases have barriers, behind a network that loses, repeats and keeps
//! calls, and hosts that go away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use outrigger_core::saga::{ErrorClass, Outcome, Phase};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::sleep;

use super::{super::Participants, store::MemoryStore};
use crate::saga::participant::{Call, Endpoint, KeptBack, NotTried};

/// Calls that have to fail before others are kept back.
const FAILURES: u32 = 3;
const KEPT_BACK: Duration = Duration::from_millis(400);

#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    store: MemoryStore,
    state: Mutex<State>,
}

struct State {
    random: SmallRng,
    rows: BTreeMap<String, Row>,
    effects: BTreeMap<(String, String), i64>,
    confirms: BTreeMap<(String, String), i64>,
    /// Results, by idempotency key.
    delivered: BTreeMap<String, u32>,
    /// Hosts that nobody reaches, and how many calls have found that out.
    dead: BTreeMap<String, u32>,
    moods: Moods,
    /// Calls that an executor waits for.
    awaited: BTreeSet<(u32, String, String, Phase, u64)>,
    calls: u64,
    calls_by_host: BTreeMap<String, u64>,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Done,
    Refused,
    Fenced,
}

/// How often participants do what, out of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moods {
    pub(super) refusing: u32,
    pub(super) mute: u32,
    pub(super) broken: u32,
    pub(super) ongoing: u32,
    pub(super) repeated: u32,
    pub(super) slow_ms: u64,
}

/// What one executor sees of the world.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) world: World,
    pub(super) executor: u32,
}

impl World {
    pub(super) fn new(store: &MemoryStore, seed: u64) -> Self {
        Self(Arc::new(Inner {
            store: store.clone(),
            state: Mutex::new(State {
                random: SmallRng::seed_from_u64(seed),
                rows: BTreeMap::new(),
                effects: BTreeMap::new(),
                confirms: BTreeMap::new(),
                delivered: BTreeMap::new(),
                dead: BTreeMap::new(),
                moods: Moods::default(),
                awaited: BTreeSet::new(),
                calls: 0,
                calls_by_host: BTreeMap::new(),
                faults: Vec::new(),
            }),
        }))
    }

    pub(super) fn set_moods(&self, moods: Moods) {
        self.0.state.lock().unwrap().moods = moods;
    }

    pub(super) fn set_dead(&self, host: &str, dead: bool) {
        let mut state = self.0.state.lock().unwrap();
        match dead {
            true => drop(state.dead.entry(host.to_owned()).or_default()),
            false => drop(state.dead.remove(host)),
        }
    }

    pub(super) fn effect(&self, saga: &str, step: &str) -> i64 {
        let key = (saga.to_owned(), step.to_owned());
        let state = self.0.state.lock().unwrap();
        state.effects.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn confirms(&self, saga: &str, step: &str) -> i64 {
        let key = (saga.to_owned(), step.to_owned());
        let state = self.0.state.lock().unwrap();
        state.confirms.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn delivered(&self, key: &str) -> u32 {
        let state = self.0.state.lock().unwrap();
        state.delivered.get(key).copied().unwrap_or(0)
    }

    pub(super) fn calls(&self, host: &str) -> u64 {
        let state = self.0.state.lock().unwrap();
        state.calls_by_host.get(host).copied().unwrap_or(0)
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.0.state.lock().unwrap().faults.clone()
    }

    /// The executor is gone: it waits for nothing.
    pub(super) fn forget(&self, executor: u32) {
        let mut state = self.0.state.lock().unwrap();
        state.awaited.retain(|(waits, ..)| *waits != executor);
    }

    /// A call gets to the participant.
    fn arrives(&self, call: &Call) -> Outcome {
        let mut state = self.0.state.lock().unwrap();
        let (moods, dice) = (state.moods, state.random.random_range(0..1_000));
        let mut limit = 0;
        let mut below = |share: u32| {
            limit += share;
            dice < limit
        };
        let (refusing, mute) = (below(moods.refusing), below(moods.mute));
        let (broken, ongoing) = (below(moods.broken), below(moods.ongoing));
        let outcome = state.at_participant(call, refusing && !mute, broken, ongoing);
        match mute && !refusing {
            true => unsettled(ErrorClass::TimedOut),
            false => outcome,
        }
    }

    /// What an executor may not do.
    fn check(&self, executor: u32, call: &Call) -> u64 {
        let record = self.0.store.record(&call.saga);
        let step = record.and_then(|record| record.definition().index_of(&call.step));
        let announced = match step {
            None => call.step == "result",
            Some(step) => {
                let store = &self.0.store;
                store.is_announced(&call.saga, step, call.phase, call.attempt)
            }
        };
        let mut state = self.0.state.lock().unwrap();
        let told = || {
            let (saga, step, phase) = (&call.saga, &call.step, call.phase);
            format!("{saga} {step} {phase:?} attempt {}", call.attempt)
        };
        if !announced {
            let told = format!("{} is called before that is durable", told());
            state.faults.push(told);
        }
        let (saga, step) = (call.saga.clone(), call.step.clone());
        let action = (executor, saga.clone(), step.clone(), Phase::Action, 0);
        let after = (executor, saga.clone(), step.clone(), Phase::Undo, 0);
        if call.phase == Phase::Undo && state.awaited.range(action..after).next().is_some() {
            let told = format!("{} while its action is under way", told());
            state.faults.push(told);
        }
        state.calls += 1;
        let number = state.calls;
        let host = call.endpoint.authority().to_string();
        *state.calls_by_host.entry(host).or_default() += 1;
        state
            .awaited
            .insert((executor, saga, step, call.phase, number));
        number
    }
}

impl State {
    fn at_participant(
        &mut self,
        call: &Call,
        refusing: bool,
        broken: bool,
        ongoing: bool,
    ) -> Outcome {
        let key = &call.idempotency_key;
        match self.rows.get(key) {
            Some(Row::Done) => return success(),
            Some(Row::Refused | Row::Fenced) => return refusal(),
            None if broken => return unsettled(ErrorClass::Internal),
            None if ongoing => return unsettled(ErrorClass::Ongoing),
            None => {}
        }
        if call.step == "result" {
            self.rows.insert(key.clone(), Row::Done);
            *self.delivered.entry(key.clone()).or_default() += 1;
            return success();
        }
        if refusing && call.phase == Phase::Action {
            self.rows.insert(key.clone(), Row::Refused);
            return refusal();
        }
        self.rows.insert(key.clone(), Row::Done);
        let place = (call.saga.clone(), call.step.clone());
        match call.phase {
            Phase::Action => *self.effects.entry(place).or_default() += 1,
            Phase::Confirm => *self.confirms.entry(place).or_default() += 1,
            Phase::Undo => {
                let action = key.split("/undo").next().unwrap();
                let action = format!("{action}/action");
                if *self.rows.entry(action).or_insert(Row::Fenced) == Row::Done {
                    *self.effects.entry(place).or_default() -= 1;
                }
            }
        }
        success()
    }
}

impl Participants for Network {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Outcome, NotTried>> {
        let (world, executor) = (self.world.clone(), self.executor);
        Box::pin(async move {
            let host = call.endpoint.authority().to_string();
            let (there, back, again) = {
                let mut state = world.0.state.lock().unwrap();
                if let Some(failures) = state.dead.get_mut(&host) {
                    *failures += 1;
                    if *failures > FAILURES {
                        return Err(NotTried {
                            retry_after: KEPT_BACK,
                            why: KeptBack::BreakerOpen,
                        });
                    }
                    return Ok(unsettled(ErrorClass::Unreachable));
                }
                let moods = state.moods;
                let mut way = || {
                    let ms = state.random.random_range(0..=moods.slow_ms);
                    Duration::from_millis(ms)
                };
                let ways = (way(), way(), way());
                let repeated = state.random.random_range(0..1_000) < moods.repeated;
                (ways.0, ways.1, repeated.then_some(ways.2 * 20))
            };
            let number = world.check(executor, &call);
            // What has left arrives, even if nobody waits for the answer any more.
            let (arriving, sent) = (world.clone(), call.clone());
            let arrived = tokio::spawn(async move {
                sleep(there).await;
                let outcome = arriving.arrives(&sent);
                if let Some(again) = again {
                    tokio::spawn(async move {
                        sleep(again).await;
                        arriving.arrives(&sent);
                    });
                }
                outcome
            });
            let outcome = arrived.await.unwrap();
            sleep(back).await;
            let mut state = world.0.state.lock().unwrap();
            let (saga, step, phase) = (call.saga, call.step, call.phase);
            state.awaited.remove(&(executor, saga, step, phase, number));
            Ok(outcome)
        })
    }

    fn kept_back_for(&self, endpoint: &Endpoint) -> Option<Duration> {
        let state = self.world.0.state.lock().unwrap();
        let failures = state.dead.get(endpoint.authority().as_ref())?;
        (*failures >= FAILURES).then_some(KEPT_BACK)
    }
}

fn success() -> Outcome {
    Outcome::Success {
        output: Bytes::from_static(br#"{"id":1}"#),
    }
}

fn refusal() -> Outcome {
    Outcome::Failure {
        message: "out of stock".to_owned(),
    }
}

fn unsettled(class: ErrorClass) -> Outcome {
    Outcome::Unsettled {
        class,
        message: "?".to_owned(),
        retry_after_ms: None,
    }
}
