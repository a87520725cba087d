use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Answer, Effect, Error, Input, Options, TargetStatus, target::Target};
use crate::{half_message::Verdict, retry::full_jitter};

/// Tracks unresolved transactions until they are settled.
#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    transactions: BTreeMap<u128, Tracked>,
    targets: BTreeMap<Arc<str>, Target>,
    /// (when, transaction): time to park, a check that takes too long, a verdict to repeat.
    timers: BTreeSet<(u64, u128)>,
}

#[derive(Debug)]
struct Tracked {
    target: Arc<str>,
    park_at_ms: u64,
    /// Checks that were answered with "unknown".
    unknowns: u32,
    /// At least one check ended without a verdict.
    asked_in_vain: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For its next check.
    Waiting { due_ms: u64 },
    /// A check is under way.
    Checking { until_ms: u64 },
    /// A check is under way whose answer does not matter any more.
    CheckingSettled { until_ms: u64 },
    /// The verdict is being recorded.
    Resolving { verdict: Verdict, again_ms: u64 },
    /// It is being parked.
    Parking { again_ms: u64 },
}

impl Scheduler {
    /// A machine that tracks nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            transactions: BTreeMap::new(),
            targets: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }

    /// How many transactions are tracked.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.transactions.len()
    }

    /// How each target is doing.
    pub fn targets(&self) -> impl Iterator<Item = TargetStatus> + '_ {
        self.targets.iter().map(|(name, target)| TargetStatus {
            target: Arc::clone(name),
            tracked: target.tracked,
            checking: target.checking,
            reachable: target.breaker.is_closed(),
        })
    }

    /// When to [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let parallel_max = self.options.parallel_per_target_max;
        let starts = self
            .targets
            .values()
            .filter_map(|t| t.starts_at_ms(parallel_max));
        starts
            .chain(self.timers.first().map(|(at_ms, _)| *at_ms))
            .min()
    }

    /// Takes an input. `random` is any uniformly distributed number.
    ///
    /// # Errors
    /// When a transaction cannot be tracked because there are too many.
    pub fn step(
        &mut self,
        now_ms: u64,
        random: u64,
        input: Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        match input {
            Input::Unresolved {
                id,
                target,
                prepared_at_ms,
                first_check_ms,
                park_after_ms,
            } => {
                let first_ms = first_check_ms.unwrap_or(self.options.first_check_ms);
                let park_ms = park_after_ms.unwrap_or(self.options.park_after_ms);
                let due_ms = prepared_at_ms.saturating_add(first_ms);
                let park_at_ms = prepared_at_ms.saturating_add(park_ms);
                self.track(id, &target, due_ms, park_at_ms)?;
                self.start_checks(now_ms, &target, effects);
            }
            Input::Answer { id, answer } => {
                let target = self.transactions.get(&id).map(|t| Arc::clone(&t.target));
                self.answered(now_ms, random, id, answer, effects);
                if let Some(target) = target {
                    self.start_checks(now_ms, &target, effects);
                }
            }
            Input::Settled { id } => self.settled(id),
            Input::Tick => {
                self.run_timers(now_ms, random, effects);
                let targets: Vec<_> = self.targets.keys().cloned().collect();
                for target in targets {
                    self.start_checks(now_ms, &target, effects);
                }
            }
        }
        Ok(())
    }

    fn track(
        &mut self,
        id: u128,
        name: &Arc<str>,
        due_ms: u64,
        park_at_ms: u64,
    ) -> Result<(), Error> {
        if let Some(known) = self.transactions.get_mut(&id) {
            // Resumed while the answer of a check from before was still under way.
            if let Phase::CheckingSettled { until_ms } = known.phase {
                known.phase = Phase::Checking { until_ms };
            }
            return Ok(());
        }
        let limit = self.options.tracked_max;
        if self.transactions.len() >= limit {
            return Err(Error::Full { limit });
        }
        let limit = self.options.tracked_per_target_max;
        let target = self.targets.entry(Arc::clone(name));
        let target = target.or_insert_with(Target::new);
        if target.tracked >= limit {
            let target = Arc::clone(name);
            return Err(Error::TargetFull { target, limit });
        }
        target.tracked += 1;
        target.due.insert((due_ms, id));
        let tracked = Tracked {
            target: Arc::clone(name),
            park_at_ms,
            unknowns: 0,
            asked_in_vain: false,
            phase: Phase::Waiting { due_ms },
        };
        self.transactions.insert(id, tracked);
        Ok(())
    }

    fn start_checks(&mut self, now_ms: u64, name: &Arc<str>, effects: &mut Vec<Effect>) {
        let Some(target) = self.targets.get_mut(name) else {
            return;
        };
        while let Some(id) = target.start(now_ms, self.options.parallel_per_target_max) {
            let Some(tracked) = self.transactions.get_mut(&id) else {
                continue;
            };
            let until_ms = now_ms.saturating_add(self.options.check_timeout_ms);
            if let Some(park_timer) = tracked.timer() {
                self.timers.remove(&(park_timer, id));
            }
            tracked.phase = Phase::Checking { until_ms };
            self.timers.insert((until_ms, id));
            effects.push(Effect::Check {
                id,
                target: Arc::clone(name),
                attempt: tracked.unknowns.saturating_add(1),
            });
        }
    }

    fn answered(
        &mut self,
        now_ms: u64,
        random: u64,
        id: u128,
        answer: Answer,
        effects: &mut Vec<Effect>,
    ) {
        let Some(tracked) = self.transactions.get_mut(&id) else {
            return;
        };
        let running = matches!(
            tracked.phase,
            Phase::Checking { .. } | Phase::CheckingSettled { .. }
        );
        if running && let Some(target) = self.targets.get_mut(&tracked.target) {
            target.checking -= 1;
            match answer {
                Answer::Definite(_) | Answer::Unknown => target.breaker.reached(),
                Answer::Unreachable => {
                    target
                        .breaker
                        .unreachable(now_ms, id, random, &self.options.breaker);
                }
            }
        }
        match (tracked.phase, answer) {
            (Phase::CheckingSettled { .. }, _) => self.forget(id),
            // However late, a definite answer stays true.
            (Phase::Checking { .. } | Phase::Waiting { .. }, Answer::Definite(verdict)) => {
                let again_ms = now_ms.saturating_add(self.options.settle_retry_ms);
                self.set_phase(id, Phase::Resolving { verdict, again_ms });
                effects.push(Effect::Resolve { id, verdict });
            }
            (Phase::Checking { .. }, Answer::Unknown) => {
                tracked.unknowns = tracked.unknowns.saturating_add(1);
                self.in_vain(now_ms, random, id, effects);
            }
            (Phase::Checking { .. }, Answer::Unreachable) => {
                self.in_vain(now_ms, random, id, effects);
            }
            (Phase::Waiting { .. }, Answer::Unknown | Answer::Unreachable)
            | (Phase::Resolving { .. } | Phase::Parking { .. }, _) => {}
        }
    }

    /// A check ended without a verdict: again later, or park.
    fn in_vain(&mut self, now_ms: u64, random: u64, id: u128, effects: &mut Vec<Effect>) {
        let Some(tracked) = self.transactions.get_mut(&id) else {
            return;
        };
        tracked.asked_in_vain = true;
        if tracked.park_at_ms <= now_ms {
            self.park(now_ms, id, effects);
            return;
        }
        let (base_ms, cap_ms) = (self.options.backoff_base_ms, self.options.backoff_cap_ms);
        let wait_ms = full_jitter(base_ms, cap_ms, tracked.unknowns.max(1), spread(random, id));
        let due_ms = now_ms.saturating_add(wait_ms.max(1));
        self.set_phase(id, Phase::Waiting { due_ms });
    }

    fn park(&mut self, now_ms: u64, id: u128, effects: &mut Vec<Effect>) {
        let again_ms = now_ms.saturating_add(self.options.settle_retry_ms);
        self.set_phase(id, Phase::Parking { again_ms });
        effects.push(Effect::Park { id });
    }

    fn settled(&mut self, id: u128) {
        let Some(tracked) = self.transactions.get(&id) else {
            return;
        };
        match tracked.phase {
            // The check still runs, and counts until its answer.
            Phase::Checking { until_ms } => {
                self.set_phase(id, Phase::CheckingSettled { until_ms });
            }
            Phase::CheckingSettled { .. } => {}
            Phase::Waiting { .. } | Phase::Resolving { .. } | Phase::Parking { .. } => {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: u128) {
        let Some(tracked) = self.transactions.remove(&id) else {
            return;
        };
        if let Some(at_ms) = tracked.timer() {
            self.timers.remove(&(at_ms, id));
        }
        let Some(target) = self.targets.get_mut(&tracked.target) else {
            return;
        };
        if let Phase::Waiting { due_ms } = tracked.phase {
            target.due.remove(&(due_ms, id));
        }
        target.tracked -= 1;
        if target.tracked == 0 {
            self.targets.remove(&tracked.target);
        }
    }

    fn run_timers(&mut self, now_ms: u64, random: u64, effects: &mut Vec<Effect>) {
        while let Some((_, id)) = self
            .timers
            .first()
            .copied()
            .filter(|(at_ms, _)| *at_ms <= now_ms)
        {
            self.timers.pop_first();
            let Some(tracked) = self.transactions.get(&id) else {
                continue;
            };
            match tracked.phase {
                Phase::Waiting { .. } => self.park(now_ms, id, effects),
                Phase::Checking { .. } | Phase::CheckingSettled { .. } => {
                    self.answered(now_ms, random, id, Answer::Unreachable, effects);
                }
                Phase::Resolving { verdict, .. } => {
                    let again_ms = now_ms.saturating_add(self.options.settle_retry_ms.max(1));
                    self.set_phase(id, Phase::Resolving { verdict, again_ms });
                    effects.push(Effect::Resolve { id, verdict });
                }
                Phase::Parking { .. } => self.park(now_ms, id, effects),
            }
        }
    }

    /// Changes a phase and keeps the timers and the due checks in step.
    fn set_phase(&mut self, id: u128, phase: Phase) {
        let Some(tracked) = self.transactions.get_mut(&id) else {
            return;
        };
        let Some(target) = self.targets.get_mut(&tracked.target) else {
            return;
        };
        if let Some(at_ms) = tracked.timer() {
            self.timers.remove(&(at_ms, id));
        }
        if let Phase::Waiting { due_ms } = tracked.phase {
            target.due.remove(&(due_ms, id));
        }
        tracked.phase = phase;
        if let Phase::Waiting { due_ms } = phase {
            target.due.insert((due_ms, id));
        }
        if let Some(at_ms) = tracked.timer() {
            self.timers.insert((at_ms, id));
        }
    }
}

impl Tracked {
    /// When the machine must look at it by itself. Nothing is parked unasked.
    fn timer(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { .. } => self.asked_in_vain.then_some(self.park_at_ms),
            Phase::Checking { until_ms } | Phase::CheckingSettled { until_ms } => Some(until_ms),
            Phase::Resolving { again_ms, .. } | Phase::Parking { again_ms } => Some(again_ms),
        }
    }
}

/// Makes one random number differ for every transaction; a step of Sebastiano Vigna's
/// SplitMix64.
fn spread(random: u64, id: u128) -> u64 {
    let mut mixed = random ^ (id as u64) ^ ((id >> 64) as u64);
    mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
