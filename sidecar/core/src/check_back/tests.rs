//! Random schedules of answers, silences and resolutions, against an observer who knows
//! only what the outside can see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Answer, Effect, Error, Input, Options, Scheduler};
use crate::{breaker, half_message::Verdict};
use proptest::prelude::*;

const PARALLEL: usize = 3;
const FAILURES: u32 = 2;
const PARK_AFTER_MS: u64 = 2_000;
const CHECK_TIMEOUT_MS: u64 = 200;
const TARGETS: [&str; 3] = ["orders-db", "stock-db", "points-db"];

fn options() -> Options {
    Options {
        first_check_ms: 100,
        backoff_base_ms: 50,
        backoff_cap_ms: 400,
        park_after_ms: PARK_AFTER_MS,
        check_timeout_ms: CHECK_TIMEOUT_MS,
        settle_retry_ms: 100,
        parallel_per_target_max: PARALLEL,
        tracked_per_target_max: 12,
        tracked_max: 30,
        breaker: breaker::Options {
            failures_max: FAILURES,
            open_base_ms: 100,
            open_cap_ms: 400,
        },
    }
}

#[derive(Debug, Clone)]
enum Step {
    Unresolved(usize),
    Answer(prop::sample::Index, Answer),
    LateAnswer(prop::sample::Index, Answer),
    SettledByApp(prop::sample::Index),
    Recorded,
    Wait(u64),
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::Definite(Verdict::Commit)),
        1 => Just(Answer::Definite(Verdict::Rollback)),
        3 => Just(Answer::Unknown),
        4 => Just(Answer::Unreachable),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    type Index = prop::sample::Index;
    prop_oneof![
        4 => (0..TARGETS.len()).prop_map(Step::Unresolved),
        8 => (any::<Index>(), answer()).prop_map(|(i, answer)| Step::Answer(i, answer)),
        1 => (any::<Index>(), answer()).prop_map(|(i, answer)| Step::LateAnswer(i, answer)),
        1 => any::<Index>().prop_map(Step::SettledByApp),
        1 => Just(Step::Recorded),
        8 => (1..300_u64).prop_map(Step::Wait),
    ]
}

#[derive(Default)]
struct Known {
    target: &'static str,
    prepared_at_ms: u64,
    unknowns: u32,
    in_vain: bool,
    /// When the running check was asked.
    checking_since: Option<u64>,
    /// It was asked although its target could not be reached before.
    is_probe: bool,
    definite: BTreeSet<Verdict>,
    told: Option<Effect>,
    settled: bool,
}

struct World {
    scheduler: Scheduler,
    now_ms: u64,
    random: u64,
    known: BTreeMap<u128, Known>,
    /// Unreachable answers in a row, by target.
    failures: BTreeMap<&'static str, u32>,
}

type Checked = Result<(), TestCaseError>;

impl World {
    fn new(random: u64) -> Self {
        Self {
            scheduler: Scheduler::new(options()),
            now_ms: 10_000,
            random,
            known: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn input(&mut self, input: Input) -> Result<Result<(), Error>, TestCaseError> {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut effects = Vec::new();
        let stepped = self
            .scheduler
            .step(self.now_ms, self.random, input, &mut effects);
        effects
            .into_iter()
            .try_for_each(|effect| self.see(effect))?;
        for target in TARGETS {
            let checking = self.checking(target).count();
            prop_assert!(
                checking <= PARALLEL,
                "{checking} checks of {target} at a time"
            );
            // A target without transactions is forgotten, its breaker included.
            if self
                .scheduler
                .targets()
                .all(|status| &*status.target != target)
            {
                self.failures.remove(target);
            }
        }
        Ok(stepped)
    }

    fn checking(&self, target: &str) -> impl Iterator<Item = u128> {
        let known = self.known.iter();
        let checking = known.filter(move |(_, k)| k.target == target && k.checking_since.is_some());
        checking.map(|(id, _)| *id)
    }

    fn see(&mut self, effect: Effect) -> Checked {
        match &effect {
            Effect::Check {
                id,
                target,
                attempt,
            } => {
                let broken = self.failures.get(&**target).is_some_and(|f| *f >= FAILURES);
                let probing = self.checking(target).any(|id| self.known[&id].is_probe);
                prop_assert!(!broken || !probing, "{target} is asked too much");
                let known = self.known.get_mut(id).unwrap();
                prop_assert!(
                    known.checking_since.is_none(),
                    "two checks of {id} at a time"
                );
                prop_assert!(!known.settled && known.told.is_none());
                prop_assert!(self.now_ms >= known.prepared_at_ms + 100);
                prop_assert_eq!(*attempt, known.unknowns + 1);
                known.is_probe = broken;
                known.checking_since = Some(self.now_ms);
            }
            Effect::Resolve { id, verdict } => {
                let known = self.known.get_mut(id).unwrap();
                prop_assert!(known.definite.contains(verdict), "{id} decided on nothing");
                known.told = Some(effect.clone());
            }
            Effect::Park { id } => {
                let known = self.known.get_mut(id).unwrap();
                prop_assert!(known.in_vain, "{id} was parked unasked");
                prop_assert!(self.now_ms >= known.prepared_at_ms + PARK_AFTER_MS);
                known.told = Some(effect.clone());
            }
        }
        Ok(())
    }

    fn unresolved(&mut self, target: usize) -> Checked {
        let id = self.known.len() as u128;
        let target = TARGETS[target];
        let known = Known {
            target,
            prepared_at_ms: self.now_ms,
            ..Known::default()
        };
        self.known.insert(id, known);
        let input = Input::Unresolved {
            id,
            target: target.into(),
            prepared_at_ms: self.now_ms,
            first_check_ms: None,
            park_after_ms: None,
        };
        let tracked = self.input(input.clone())?;
        if tracked.is_err() {
            self.known.remove(&id);
            return Ok(());
        }
        prop_assert_eq!(self.input(input)?, Ok(()));
        Ok(())
    }

    fn pick(&self, index: &prop::sample::Index, filter: impl Fn(&Known) -> bool) -> Option<u128> {
        let known = self.known.iter().filter(|(_, k)| filter(k));
        let ids: Vec<u128> = known.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn answer(&mut self, id: u128, answer: Answer, running: bool) -> Checked {
        let known = self.known.get_mut(&id).unwrap();
        if let Answer::Definite(verdict) = answer {
            known.definite.insert(verdict);
        }
        if running {
            known.checking_since = None;
            known.in_vain |= !matches!(answer, Answer::Definite(_));
            known.unknowns += u32::from(answer == Answer::Unknown);
            let failures = self.failures.entry(known.target).or_default();
            match answer {
                Answer::Unreachable => *failures += 1,
                Answer::Definite(_) | Answer::Unknown => *failures = 0,
            }
            let (target, reached) = (known.target, *failures == 0);
            if reached {
                let others = self.known.values_mut().filter(|k| k.target == target);
                others.for_each(|other| other.is_probe = false);
            }
        }
        prop_assert_eq!(self.input(Input::Answer { id, answer })?, Ok(()));
        Ok(())
    }

    fn settle(&mut self, id: u128) -> Checked {
        self.known.get_mut(&id).unwrap().settled = true;
        prop_assert_eq!(self.input(Input::Settled { id })?, Ok(()));
        Ok(())
    }

    fn run(&mut self, step: Step) -> Checked {
        match step {
            Step::Unresolved(target) => self.unresolved(target),
            Step::Answer(index, answer) => {
                match self.pick(&index, |known| known.checking_since.is_some()) {
                    Some(id) => self.answer(id, answer, true),
                    None => Ok(()),
                }
            }
            Step::LateAnswer(index, answer) => {
                match self.pick(&index, |known| known.checking_since.is_none()) {
                    Some(id) => self.answer(id, answer, false),
                    None => Ok(()),
                }
            }
            Step::SettledByApp(index) => match self.pick(&index, |known| !known.settled) {
                Some(id) => self.settle(id),
                None => Ok(()),
            },
            Step::Recorded => self.record(),
            Step::Wait(ms) => self.wait(ms),
        }
    }

    /// The log records everything it was told to.
    fn record(&mut self) -> Checked {
        let told = self
            .known
            .iter()
            .filter(|(_, k)| k.told.is_some() && !k.settled);
        let told: Vec<u128> = told.map(|(id, _)| *id).collect();
        told.into_iter().try_for_each(|id| self.settle(id))
    }

    fn wait(&mut self, ms: u64) -> Checked {
        let until_ms = self.now_ms + ms;
        while let Some(at_ms) = self.scheduler.next_deadline().filter(|at| *at <= until_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.time_out();
            prop_assert_eq!(self.input(Input::Tick)?, Ok(()));
            let next = self.scheduler.next_deadline();
            prop_assert!(
                next.is_none_or(|next| next > self.now_ms),
                "time stands still"
            );
        }
        self.now_ms = until_ms;
        Ok(())
    }

    /// A silent check counts as unreachable.
    fn time_out(&mut self) {
        for known in self.known.values_mut() {
            let silent = known
                .checking_since
                .is_some_and(|at| at + CHECK_TIMEOUT_MS <= self.now_ms);
            if silent {
                known.checking_since = None;
                known.in_vain = true;
                *self.failures.entry(known.target).or_default() += 1;
            }
        }
    }

    /// Everybody answers, and the log works: everything must come to an end.
    fn drain(&mut self) -> Checked {
        for _ in 0..400 {
            self.wait(20)?;
            self.record()?;
            let checking = TARGETS.iter().flat_map(|target| self.checking(target));
            for id in checking.collect::<Vec<_>>() {
                self.answer(id, Answer::Definite(Verdict::Commit), true)?;
            }
        }
        let left = self.known.iter().find(|(_, known)| !known.settled);
        prop_assert!(left.is_none(), "{:?} was forgotten", left.map(|(id, _)| id));
        prop_assert_eq!(self.scheduler.tracked(), 0);
        prop_assert_eq!(self.scheduler.targets().count(), 0);
        prop_assert_eq!(self.scheduler.next_deadline(), None);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Unknown and silence never decide; one check per transaction and a few per target at
    /// a time; attempts count only answers; nothing is parked early or unasked; and no
    /// transaction is forgotten.
    #[test]
    fn every_transaction_is_asked_about_until_it_is_settled(
        random in any::<u64>(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(random);
        for step in steps {
            world.run(step)?;
        }
        world.drain()?;
    }
}

/// Two services: one dead, one alive, both with many unresolved transactions.
#[test]
fn a_dead_service_delays_nobody_else() {
    let mut scheduler = Scheduler::new(options());
    let mut effects = Vec::new();
    let (dead, alive): (Arc<str>, Arc<str>) = ("dead".into(), "alive".into());
    for id in 0..24_u128 {
        let input = Input::Unresolved {
            id,
            target: if id < 12 { dead.clone() } else { alive.clone() },
            prepared_at_ms: 0,
            first_check_ms: None,
            park_after_ms: None,
        };
        scheduler.step(0, 0, input, &mut effects).unwrap();
    }
    let mut asked: BTreeMap<bool, Vec<u64>> = BTreeMap::new();
    for now_ms in 0..1_900 {
        scheduler
            .step(now_ms, u64::MAX, Input::Tick, &mut effects)
            .unwrap();
        while let Some(effect) = effects.pop() {
            let input = match effect {
                Effect::Check {
                    id,
                    target,
                    attempt,
                } => {
                    asked.entry(target == dead).or_default().push(now_ms);
                    assert_eq!(attempt, 1, "an unreachable checker burns no attempt");
                    let answer = match target == dead {
                        true => Answer::Unreachable,
                        false => Answer::Definite(Verdict::Commit),
                    };
                    Input::Answer { id, answer }
                }
                Effect::Resolve { id, .. } => Input::Settled { id },
                Effect::Park { id } => panic!("{id} was parked early"),
            };
            scheduler
                .step(now_ms, u64::MAX, input, &mut effects)
                .unwrap();
        }
    }
    assert_eq!(
        asked[&false], [100; 12],
        "the living service was asked at once"
    );
    // Open for 100, 200, 400, 400 ... ms with full jitter at its ceiling: one probe each.
    assert_eq!(
        asked[&true],
        [100, 100, 100, 100, 200, 400, 800, 1_200, 1_600]
    );
    let status: Vec<_> = scheduler.targets().collect();
    assert_eq!(
        (status.len(), status[0].tracked, status[0].reachable),
        (1, 12, false)
    );
}

#[test]
fn a_full_target_refuses_and_names_its_limit() {
    let mut scheduler = Scheduler::new(options());
    let unresolved = |id: u128, target: &str| Input::Unresolved {
        id,
        target: target.into(),
        prepared_at_ms: 0,
        first_check_ms: None,
        park_after_ms: None,
    };
    let mut effects = Vec::new();
    for id in 0..12 {
        scheduler
            .step(0, 0, unresolved(id, "a"), &mut effects)
            .unwrap();
    }
    let refused = scheduler.step(0, 0, unresolved(12, "a"), &mut effects);
    let (target, limit) = ("a".into(), 12);
    assert_eq!(refused, Err(Error::TargetFull { target, limit }));
    assert_eq!(
        scheduler.step(0, 0, unresolved(13, "b"), &mut effects),
        Ok(())
    );
}

#[test]
fn a_transaction_may_have_its_own_time_to_park() {
    let mut scheduler = Scheduler::new(options());
    let mut effects = Vec::new();
    for (id, park_after_ms) in [(1, Some(50)), (2, None)] {
        let input = Input::Unresolved {
            id,
            target: "a".into(),
            prepared_at_ms: 0,
            first_check_ms: Some(10),
            park_after_ms,
        };
        scheduler.step(0, 0, input, &mut effects).unwrap();
    }
    scheduler.step(10, 0, Input::Tick, &mut effects).unwrap();
    for id in [1, 2] {
        let answer = Answer::Unknown;
        let input = Input::Answer { id, answer };
        scheduler.step(60, 0, input, &mut effects).unwrap();
    }
    let parked: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Park { .. }))
        .collect();
    assert_eq!(parked, [&Effect::Park { id: 1 }]);
}
