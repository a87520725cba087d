//! Ledgers in memory, behind a network that is slow and loses calls and answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use outrigger_core::{
    placement::Placement,
    saga::{
        Definition, Phase, Record, StepIndex,
        definition::Version,
        event::Event,
        ledger::{Answer, Command, Ledger, Limits, View},
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::sleep;

use super::clock::Clock;
use crate::saga::store::{Refused, Store, Unavailable};

#[derive(Clone)]
pub(super) struct MemoryStore(Arc<Inner>);

struct Inner {
    clock: Clock,
    placement: Placement,
    state: Mutex<State>,
}

struct State {
    ledgers: Vec<Ledger>,
    faults: Faults,
    random: SmallRng,
    /// The highest attempt that is durable.
    announced: BTreeMap<(String, StepIndex, Phase), u32>,
}

/// What goes wrong, out of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) unanswered: u32,
    /// Given up, and carried out some time later.
    pub(super) late: u32,
    pub(super) slow_ms: u64,
}

impl MemoryStore {
    pub(super) fn new(clock: Clock, groups: u32, seed: u64) -> Self {
        let ledgers = (0..groups).map(|_| Ledger::new(Limits::default()));
        Self(Arc::new(Inner {
            clock,
            placement: Placement::new(groups).unwrap(),
            state: Mutex::new(State {
                ledgers: ledgers.collect(),
                faults: Faults::default(),
                random: SmallRng::seed_from_u64(seed),
                announced: BTreeMap::new(),
            }),
        }))
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.0.state.lock().unwrap().faults = faults;
    }

    /// In every data group, at once.
    pub(super) fn define(&self, definition: &Definition) {
        for group in 0..self.0.placement.groups() {
            let encoded = definition.encoded().clone();
            self.now(group, Command::Define { encoded }).unwrap();
        }
    }

    /// Carries a command out at once, whatever is wrong with the network.
    pub(super) fn now(&self, group: u32, command: Command) -> Result<Answer, Refused> {
        let mut state = self.0.state.lock().unwrap();
        state.apply(self.0.clock.now_ms(), group, command)
    }

    pub(super) fn view(&self, saga: &str) -> Option<View> {
        let now_ms = self.0.clock.now_ms();
        let group = self.0.placement.saga(saga) as usize;
        self.0.state.lock().unwrap().ledgers[group].view(now_ms, saga)
    }

    pub(super) fn record(&self, saga: &str) -> Option<Record> {
        self.view(saga).map(|view| view.record)
    }

    pub(super) fn is_announced(
        &self,
        saga: &str,
        step: StepIndex,
        phase: Phase,
        attempt: u32,
    ) -> bool {
        let state = self.0.state.lock().unwrap();
        let known = state.announced.get(&(saga.to_owned(), step, phase));
        known.is_some_and(|known| *known >= attempt)
    }

    /// What becomes of a call: how long it takes there and back, and what is lost.
    fn fate(&self) -> (Duration, Duration, bool, bool) {
        let mut state = self.0.state.lock().unwrap();
        let Faults {
            lost,
            unanswered,
            slow_ms,
            ..
        } = state.faults;
        let mut way = || Duration::from_millis(state.random.random_range(0..=slow_ms));
        let (there, back) = (way(), way());
        let lost = state.random.random_range(0..1_000) < lost;
        let unanswered = state.random.random_range(0..1_000) < unanswered;
        (there, back, lost, unanswered)
    }
}

impl MemoryStore {
    fn carry_out(&self, group: u32, commands: Vec<Command>) -> Vec<Result<Answer, Refused>> {
        let mut state = self.0.state.lock().unwrap();
        let now_ms = self.0.clock.now_ms();
        let commands = commands.into_iter();
        let answers = commands.map(|command| state.apply(now_ms, group, command));
        answers.collect()
    }

    /// How much later than anybody waits a call is carried out, if it is.
    fn lateness(&self) -> Option<Duration> {
        let mut state = self.0.state.lock().unwrap();
        let late = state.faults.late;
        let is_late = late > 0 && state.random.random_range(0..1_000) < late;
        is_late.then(|| Duration::from_millis(state.random.random_range(0..4_000)))
    }
}

impl State {
    fn apply(&mut self, now_ms: u64, group: u32, command: Command) -> Result<Answer, Refused> {
        let told = command.clone();
        let answer = self.ledgers[group as usize].apply(now_ms, command);
        if let Answer::Refused(refusal) = answer {
            return Err(refusal.into());
        }
        if let Some(saga) = told.saga() {
            let view = self.ledgers[group as usize].view(now_ms, saga);
            let steps = view.iter().flat_map(|view| (0..).zip(view.record.steps()));
            for (step, known) in steps {
                if let outrigger_core::saga::record::StepState::Calling(phase) = known.state() {
                    let key = (saga.to_owned(), step, phase);
                    self.announced.insert(key, known.attempt());
                }
            }
        }
        if let Command::Append { saga, events, .. } = told {
            for event in events {
                if let Event::Started {
                    step,
                    phase,
                    attempt,
                    ..
                } = event
                {
                    let known = self.announced.entry((saga.clone(), step, phase));
                    let known = known.or_default();
                    *known = attempt.max(*known);
                }
            }
        }
        Ok(answer)
    }
}

fn unavailable(reason: &str) -> Unavailable {
    Unavailable {
        reason: reason.to_owned(),
    }
}

impl Store for MemoryStore {
    fn placement(&self) -> Placement {
        self.0.placement
    }

    fn submit(
        &self,
        group: u32,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Result<Answer, Refused>>, Unavailable>> {
        let this = self.clone();
        Box::pin(async move {
            let (there, back, lost, unanswered) = this.fate();
            let late = this.lateness();
            // What has left arrives, even if nobody waits for the answer any more.
            let carried_out = tokio::spawn(async move {
                sleep(there).await;
                if lost {
                    return Err(unavailable("lost on the way"));
                }
                if let Some(late) = late {
                    tokio::spawn(async move {
                        sleep(late).await;
                        this.carry_out(group, commands);
                    });
                    return Err(unavailable("nobody answers"));
                }
                Ok(this.carry_out(group, commands))
            });
            let answers = carried_out.await.unwrap();
            sleep(back).await;
            match unanswered {
                true => Err(unavailable("the answer was lost")),
                false => answers,
            }
        })
    }

    fn read(&self, saga: &str) -> BoxFuture<'static, Result<Option<View>, Unavailable>> {
        let (this, saga) = (self.clone(), saga.to_owned());
        Box::pin(async move {
            let (there, back, lost, unanswered) = this.fate();
            sleep(there).await;
            let view = this.view(&saga);
            sleep(back).await;
            match lost || unanswered {
                true => Err(unavailable("the read was lost")),
                false => Ok(view),
            }
        })
    }

    fn definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> BoxFuture<'static, Result<Option<Arc<Definition>>, Unavailable>> {
        let state = self.0.state.lock().unwrap();
        let definition = state.ledgers[0].definition(name, version).cloned();
        Box::pin(async move { Ok(definition) })
    }
}
