//! A saga's machine, and what it asks for.

use std::{sync::Arc, time::Duration};

use outrigger_core::saga::{Effect, Input, Saga, event::Event, ledger::View, record::Status};

use super::{
    Executor, gauges,
    group::Item,
    sagas::{Append, AppendState, Awake, Held, Hold, State},
};

/// A saga is put to sleep only if it has so long to wait.
const SLEEP_MS_MIN: u64 = 2_000;
/// After so long a saga with which something is wrong is read again.
const MEND_MS: u64 = 1_000;

impl Executor {
    /// Takes a saga in. What was known of it is dropped.
    pub(super) fn insert(&mut self, held: Held) -> Hold {
        let (hold, replaced) = self.sagas.insert(held);
        if let Some((replaced_hold, replaced)) = replaced {
            self.forget(replaced_hold, replaced);
        }
        hold
    }

    /// Does not own it any more, or has nothing more to do with it.
    pub(super) fn drop_saga(&mut self, hold: Hold) {
        if let Some(held) = self.sagas.remove(hold) {
            self.forget(hold, held);
        }
    }

    pub(super) fn forget(&mut self, hold: Hold, mut held: Held) {
        held.send_away();
        if let Some(at_ms) = held.look_at_ms {
            self.looks.remove(&(at_ms, hold));
        }
        for lane in &held.lanes {
            self.lanes.leave(lane, hold);
            self.lanes.tidy(lane);
        }
        if let Some(lane) = held.woken_by {
            self.lanes.give_place_back(&lane);
            self.freed.insert(lane);
        }
    }

    /// Somebody else owns it: nothing that comes back for it counts.
    pub(super) fn lose(&mut self, hold: Hold) {
        if let Some(held) = self.sagas.get(hold) {
            tracing::debug!(saga = %held.id, epoch = held.epoch, "somebody else owns the saga");
            gauges::lost();
        }
        self.drop_saga(hold);
    }

    /// Something is wrong with what is known of it: its machine is made again after a while.
    pub(super) fn mend(&mut self, hold: Hold, why: &dyn std::fmt::Display) {
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        tracing::warn!(saga = %held.id, error = %why, "the saga is read again");
        let (id, group, epoch) = (Arc::clone(&held.id), held.group, held.epoch);
        let again = Held::new(id, group, epoch, State::Loading);
        let hold = self.insert(again);
        let at_ms = self.now_ms().saturating_add(MEND_MS);
        self.look_at(hold, Some(at_ms));
    }

    /// Makes the machine from what is recorded.
    pub(super) fn recover(&mut self, hold: Hold, view: View) {
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        // It was read since anything was doubted.
        (held.is_doubtful, held.is_in_doubt) = (false, false);
        held.state = State::Awake(Awake::new(Saga::recover(view.record)));
        self.step(hold, Input::Tick);
    }

    /// Gives the machine an input, and does what it asks for.
    pub(super) fn step(&mut self, hold: Hold, input: Input) {
        self.step_through(hold, vec![input]);
    }

    /// The same with several inputs, the last one first. In between the saga is not put to sleep.
    pub(super) fn step_through(&mut self, hold: Hold, mut inputs: Vec<Input>) {
        let now_ms = self.now_ms();
        while let Some(input) = inputs.pop() {
            let random = self.chance();
            let Some(awake) = self.sagas.awake(hold) else {
                return;
            };
            let mut effects = Vec::new();
            if let Err(error) = awake.saga.step(now_ms, random, input, &mut effects) {
                self.mend(hold, &error);
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Append { after, events } => {
                        self.append(hold, after, events);
                        #[cfg(feature = "simulation")]
                        inputs.extend(self.takes_for_durable(hold));
                    }
                    Effect::Call(call) => inputs.extend(self.call(hold, call, now_ms)),
                    Effect::Deliver { .. } => inputs.extend(self.deliver(hold, now_ms)),
                }
            }
        }
        self.settle_down(hold, now_ms);
    }

    fn append(&mut self, hold: Hold, after: u64, events: Vec<Event>) {
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        held.read_is_old = held.reading;
        let (group, epoch, id) = (held.group, held.epoch, Arc::clone(&held.id));
        let Some(awake) = held.awake() else {
            return;
        };
        awake.append = Some(Append {
            after,
            events: events.clone(),
            state: AppendState::UnderWay,
        });
        let begins = self.beginning.take_if(|(beginning, _)| *beginning == hold);
        let item = match begins {
            Some((hold, start)) => Item::Begin {
                hold,
                start,
                first: Some(events),
            },
            None => Item::Append {
                hold,
                saga: id.to_string(),
                epoch,
                after,
                events,
            },
        };
        self.push(group, item);
        #[cfg(test)]
        if self.planted == Some(super::planted::Planted::CallsTooEarly)
            && let Some(awake) = self.sagas.awake(hold)
            && let Some(append) = awake.append.take()
        {
            let _ = awake.take_events(append.after, &append.events);
            self.step(hold, Input::Appended);
        }
    }

    /// After a step: is it finished, may it sleep, and when does it go on?
    fn settle_down(&mut self, hold: Hold, now_ms: u64) {
        let crowded = self.sagas.in_memory() > self.options.sagas_max / 2;
        let beds = self.options.sagas_asleep_max > self.sagas.asleep();
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        let busy = held.poked || held.reading;
        // A machine that does not know what became of its events waits for nothing else.
        let read_again_ms = held.read_again_at_ms;
        let Some(awake) = held.awake() else {
            return;
        };
        let is_begun = awake.asked.is_none();
        if awake.saga.is_finished() && is_begun && awake.append.is_none() {
            let completed = awake.saga.record().status() == Status::Completed;
            gauges::ended(completed);
            held.tell();
            self.drop_saga(hold);
            return;
        }
        let next_ms = awake.saga.next_deadline();
        let quiet = awake.saga.is_quiet() && is_begun && !busy;
        held.tell();
        let far = next_ms.is_none_or(|at_ms| at_ms >= now_ms.saturating_add(SLEEP_MS_MIN));
        if crowded && beds && quiet && far {
            self.sagas.set_asleep(hold);
        }
        self.look_at(hold, next_ms.into_iter().chain(read_again_ms).min());
    }

    /// When it has to be looked at next.
    pub(super) fn look_at(&mut self, hold: Hold, at_ms: Option<u64>) {
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        let before_ms = std::mem::replace(&mut held.look_at_ms, at_ms);
        if before_ms == at_ms {
            return;
        }
        if let Some(before_ms) = before_ms {
            self.looks.remove(&(before_ms, hold));
        }
        if let Some(at_ms) = at_ms {
            self.looks.insert((at_ms, hold));
        }
    }

    pub(super) fn look_at_what_is_due(&mut self) {
        let now_ms = self.now_ms();
        while let Some((at_ms, hold)) = self.looks.first().copied()
            && at_ms <= now_ms
        {
            self.looks.pop_first();
            let Some(held) = self.sagas.get(hold) else {
                continue;
            };
            held.look_at_ms = None;
            match &held.state {
                State::Awake(awake) if awake.may_go_on() && !held.poked => {
                    self.step(hold, Input::Tick);
                }
                State::Awake(_) | State::Loading | State::Asleep => self.want_to_read(hold),
            }
        }
    }

    /// Jitter for when the log cannot be reached.
    pub(super) fn retry_in(&mut self, failures: u32) -> Duration {
        let random = self.chance();
        let (base_ms, cap_ms) = (self.options.retry_base_ms, self.options.retry_cap_ms);
        let wait_ms = outrigger_core::retry::full_jitter(base_ms, cap_ms, failures, random);
        Duration::from_millis(wait_ms.max(1))
    }

    /// Nothing, but where a simulation makes this mistake to see whether it is noticed.
    #[cfg(feature = "simulation")]
    fn takes_for_durable(&mut self, hold: Hold) -> Option<Input> {
        use outrigger_log::simulation::{Plant, is_planted};

        let awake = self.sagas.awake(hold)?;
        // The start comes first, all the same.
        if !is_planted(Plant::CallsEarly) || awake.asked.is_some() {
            return None;
        }
        let append = awake.append.take()?;
        awake.take_events(append.after, &append.events).ok()?;
        Some(Input::Appended)
    }
}
