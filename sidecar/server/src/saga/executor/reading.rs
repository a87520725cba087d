//! Reading sagas: those that were taken over, those about which others recorded something,
//! and those of which nobody knows what was recorded.

use outrigger_core::saga::{Error, Input, event::Event, ledger::View};

use super::{
    Executor,
    executor::Done,
    sagas::{AppendState, Awake, Hold, State},
};
use crate::saga::store::Unavailable;

/// How often a saga is looked for of which nobody knows whether it was started: its start may
/// still be on its way. With the default waits that is about half of this many seconds.
const EMPTY_READS_MAX: u32 = 32;

impl Executor {
    /// It is read as soon as its turn comes.
    pub(super) fn want_to_read(&mut self, hold: Hold) {
        self.sagas.wake_up(hold);
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        held.read_again_at_ms = None;
        // What is under way is waited for: its answer says more.
        let under_way = held.awake().is_some_and(|awake| awake.is_under_way());
        if !held.reading && !under_way {
            held.reading = true;
            self.to_read.push_back(hold);
        }
    }

    pub(super) fn read(&mut self) {
        while self.reads < self.options.reads_max.max(1)
            && let Some(hold) = self.to_read.pop_front()
        {
            let Some(held) = self.sagas.get(hold) else {
                continue;
            };
            if held.awake().is_some_and(|awake| awake.is_under_way()) {
                (held.reading, held.poked) = (false, true);
                continue;
            }
            (held.poked, held.read_is_old) = (false, false);
            let view = self.store.read(&held.id);
            self.reads += 1;
            self.tasks.spawn(async move {
                let view = view.await.map(|view| view.map(Box::new));
                Done::Read { hold, view }
            });
        }
    }

    pub(super) fn has_read(&mut self, hold: Hold, view: Result<Option<Box<View>>, Unavailable>) {
        self.reads = self.reads.saturating_sub(1);
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        held.reading = false;
        let view = match view {
            Ok(view) => view,
            Err(unavailable) => {
                tracing::debug!(saga = %held.id, %unavailable, "the saga cannot be read");
                held.failures = held.failures.saturating_add(1);
                let failures = held.failures;
                self.read_later(hold, failures);
                return;
            }
        };
        held.failures = 0;
        if std::mem::take(&mut held.read_is_old) {
            held.poked = true;
            self.want_to_read(hold);
            return;
        }
        let Some(view) = view else {
            held.empty_reads = held.empty_reads.saturating_add(1);
            let times = held.empty_reads;
            match held.is_doubtful && times < EMPTY_READS_MAX {
                true => self.read_later(hold, times),
                false => self.drop_saga(hold),
            }
            return;
        };
        if view.epoch != held.epoch {
            self.lose(hold);
            return;
        }
        // What it calls now takes the place that was kept for it.
        self.leave_bed(hold);
        let Some(held) = self.sagas.get(hold) else {
            return;
        };
        match &mut held.state {
            State::Loading => {
                // Epoch 1 may be the first epoch of somebody else.
                let ours = view.owner == Some(self.surroundings.owner);
                match ours || (view.owner.is_none() && !held.is_doubtful) {
                    true => self.recover(hold, *view),
                    false => self.lose(hold),
                }
            }
            // The answer to what is under way comes first.
            State::Awake(awake) if awake.is_under_way() => held.poked = true,
            State::Awake(awake) => match awake.catch_up(&view) {
                Some(input) => {
                    let doubted = std::mem::take(&mut held.is_in_doubt);
                    let then = doubted.then_some(Input::LetThrough);
                    self.step_through(hold, then.into_iter().chain([input]).collect());
                }
                None => self.make_again(hold, *view),
            },
            State::Asleep => {}
        }
        if self.sagas.get(hold).is_some_and(|held| held.poked) {
            self.want_to_read(hold);
        }
    }

    fn read_later(&mut self, hold: Hold, times: u32) {
        let wait = self.retry_in(times).as_millis();
        let wait_ms = u64::try_from(wait).unwrap_or(u64::MAX);
        let at_ms = self.now_ms().saturating_add(wait_ms);
        if let Some(held) = self.sagas.get(hold) {
            (held.poked, held.read_again_at_ms) = (true, Some(at_ms));
        }
        self.look_at(hold, Some(at_ms));
    }

    /// Too much is missing: the machine is made of what is recorded, and nothing that comes
    /// back for the old one counts.
    fn make_again(&mut self, hold: Hold, view: View) {
        let Some(mut held) = self.sagas.remove(hold) else {
            return;
        };
        let waiters = held.take_waiters();
        let mut again = super::sagas::Held::new(
            std::sync::Arc::clone(&held.id),
            held.group,
            held.epoch,
            State::Loading,
        );
        again.set_waiters(waiters);
        self.forget(hold, held);
        let hold = self.insert(again);
        self.recover(hold, view);
    }

    /// It is awake; the place that a lane kept for it is not needed any more.
    fn leave_bed(&mut self, hold: Hold) {
        let lane = self.sagas.get(hold).and_then(|held| held.woken_by.take());
        if let Some(lane) = lane {
            self.lanes.give_place_back(&lane);
            self.freed.insert(lane);
        }
    }
}

impl Awake {
    /// An answer of the log is awaited.
    pub(super) fn is_under_way(&self) -> bool {
        let state = self.append.as_ref().map(|append| append.state);
        self.asked.is_some() || state == Some(AppendState::UnderWay)
    }

    /// It is known what became of everything, or will be soon.
    pub(super) fn may_go_on(&self) -> bool {
        let state = self.append.as_ref().map(|append| append.state);
        self.asked.is_none() && matches!(state, None | Some(AppendState::UnderWay))
    }

    /// Takes its own events, which are durable.
    pub(super) fn take_events(&mut self, after: u64, events: &[Event]) -> Result<(), Error> {
        for (sequence, event) in (after.saturating_add(1)..).zip(events) {
            self.saga.apply(sequence, event)?;
        }
        Ok(())
    }

    /// Takes what others have recorded, and finds out what became of its own events. Answers
    /// what the machine is told; nothing when it is another saga than the one that is recorded,
    /// because something is missing in between, or because events of which nobody knew what
    /// became of them came late and in place of the last ones.
    fn catch_up(&mut self, view: &View) -> Option<Input> {
        let seen = view.seen();
        let append = self.append.take();
        let input = match &append {
            None => Input::Tick,
            Some(append) => {
                let count = u64::try_from(append.events.len()).unwrap_or(u64::MAX);
                let carried_out = append.state == AppendState::Unknown
                    && seen >= append.after.saturating_add(count);
                match carried_out {
                    true => {
                        self.take_events(append.after, &append.events).ok()?;
                        Input::Appended
                    }
                    false => Input::Refused,
                }
            }
        };
        for (sequence, event) in (seen.saturating_add(1)..).zip(&view.unseen) {
            self.saga.apply(sequence, event).ok()?;
        }
        (*self.saga.record() == view.record).then_some(input)
    }
}
