//! Which events follow from what is recorded and how calls have ended.

use super::{Ended, Error, Saga};
use crate::{
    limits::SAGA_PAYLOADS_BYTES_MAX,
    saga::{
        Outcome, Phase, StepIndex,
        definition::Mode,
        event::{Event, Reason, UndoCause},
        record::{Record, Stage, Status, StepState},
    },
};

impl Saga {
    /// The events that are to be recorded now, in their order, and the record after them.
    /// Each is decided from the record after the one before.
    pub(super) fn decide(&self, now_ms: u64) -> Result<(Record, Vec<Event>), Error> {
        let mut ahead = self.record.clone();
        let mut events = Vec::new();
        while let Some(event) = self.next_event(&ahead, now_ms) {
            ahead.apply(&event)?;
            events.push(event);
        }
        Ok((ahead, events))
    }

    fn next_event(&self, ahead: &Record, now_ms: u64) -> Option<Event> {
        match ahead.status() {
            Status::Working(stage) => {
                let mut steps = ahead.indices();
                let settled = steps.find_map(|step| self.settle(ahead, stage, step, now_ms));
                settled.or_else(|| match stage {
                    Stage::Forward => self.forward(ahead, now_ms),
                    Stage::Confirm => self.confirm(ahead),
                    Stage::Undo => self.undo(ahead),
                })
            }
            // What is known is recorded, but nothing begins.
            Status::Parked { .. } => ahead.indices().find_map(|step| self.note(ahead, step)),
            Status::Completed | Status::Undone => self.delivered(ahead),
        }
    }

    /// What is to be recorded about a call that has ended.
    fn settle(&self, ahead: &Record, stage: Stage, step: StepIndex, now_ms: u64) -> Option<Event> {
        let StepState::Calling(phase) = ahead.state(step) else {
            return None;
        };
        let noted = self.note(ahead, step);
        if noted.is_some() {
            return noted;
        }
        let ended = self.relevant_end(ahead, step);
        if stage == Stage::Undo && phase == Phase::Action {
            return self.abandon_while_undoing(step, ended);
        }
        let ended = ended?;
        match &ended.outcome {
            Outcome::Success { output } => {
                let (bytes, limit) = output_room(ahead, output.len());
                let reason = Reason::OutputTooLarge { bytes, limit };
                Some(give_up(ahead, step, phase, reason))
            }
            Outcome::Failure { message } => Some(Event::Stuck {
                step,
                phase,
                reason: Reason::Refused {
                    message: message.clone(),
                },
            }),
            Outcome::Unsettled { class, message, .. } => {
                let retry = &ahead.definition().action(step, phase)?.retry;
                let known = ahead.step(step)?;
                let times = known.ended(retry, *class).saturating_add(1);
                if retry.policy(*class).is_exhausted(times) {
                    let reason = Reason::Exhausted {
                        class: *class,
                        message: message.clone(),
                    };
                    return Some(give_up(ahead, step, phase, reason));
                }
                let undo_next =
                    stage == Stage::Forward && (ahead.failed().is_some() || ahead.is_late(now_ms));
                let due = ended.retry_at_ms <= now_ms && !undo_next;
                due.then(|| Event::Started {
                    step,
                    phase,
                    attempt: known.attempt.saturating_add(1),
                    after: Some(*class),
                })
            }
        }
    }

    /// What can be recorded about a call that has ended even while the saga is parked:
    /// success, and a refusal of an action that can still be undone.
    fn note(&self, ahead: &Record, step: StepIndex) -> Option<Event> {
        let StepState::Calling(phase) = ahead.state(step) else {
            return None;
        };
        match &self.relevant_end(ahead, step)?.outcome {
            Outcome::Success { output } => {
                let output = match phase {
                    Phase::Action => output.clone(),
                    Phase::Undo | Phase::Confirm => bytes::Bytes::new(),
                };
                let succeeded = Event::Succeeded {
                    step,
                    phase,
                    output,
                };
                ahead.check(&succeeded).is_ok().then_some(succeeded)
            }
            Outcome::Failure { message } if phase == Phase::Action => {
                let defined = ahead.definition().step(step)?;
                let first = self.live.get(usize::from(step))?.first_is_ours;
                let only_call = first && ahead.step(step)?.attempt == 1;
                #[cfg(test)]
                let only_call = only_call
                    || (ahead.planted == Some(crate::saga::tests::Planted::ForgetsOtherCalls)
                        && ahead.step(step)?.attempt == 1);
                (!defined.after_pivot).then(|| Event::Failed {
                    step,
                    only_call,
                    message: message.clone(),
                })
            }
            Outcome::Failure { .. } | Outcome::Unsettled { .. } => None,
        }
    }

    /// While everything is undone, nobody calls an action again. A call that is under way is
    /// waited for; after that the outcome is unknown.
    fn abandon_while_undoing(&self, step: StepIndex, ended: Option<&Ended>) -> Option<Event> {
        let live = self.live.get(usize::from(step))?;
        let reason = match ended.map(|ended| &ended.outcome) {
            Some(Outcome::Unsettled { class, message, .. }) => Reason::Exhausted {
                class: *class,
                message: message.clone(),
            },
            // Too large an output: it has happened, and is undone.
            Some(Outcome::Success { .. } | Outcome::Failure { .. }) => Reason::Undoing,
            None if live.sent.is_none() => Reason::Undoing,
            None => return None,
        };
        Some(Event::Abandoned { step, reason })
    }

    fn forward(&self, ahead: &Record, now_ms: u64) -> Option<Event> {
        if let Some(step) = ahead.failed() {
            let cause = UndoCause::Step(step);
            return Some(Event::UndoBegun { cause });
        }
        if ahead.unless_all(StepState::Succeeded).is_none() {
            return Some(match ahead.definition().mode() {
                Mode::Saga => Event::Completed,
                Mode::Tcc => Event::ConfirmBegun,
            });
        }
        if ahead.is_late(now_ms) {
            let cause = UndoCause::Deadline;
            return Some(Event::UndoBegun { cause });
        }
        // The time is that of the first step. Another owner's clock may be behind that of the
        // one that has begun.
        let begun = ahead.unless_all(StepState::Waiting).is_some();
        if !begun && now_ms < ahead.started().start_at_ms {
            return None;
        }
        self.begin(ahead, Phase::Action).or_else(|| park(ahead))
    }

    fn confirm(&self, ahead: &Record) -> Option<Event> {
        if ahead.unless_all(ahead.goal()).is_none() {
            return Some(Event::Completed);
        }
        self.begin(ahead, Phase::Confirm).or_else(|| park(ahead))
    }

    fn undo(&self, ahead: &Record) -> Option<Event> {
        if ahead.indices().all(|step| ahead.is_clear(step)) {
            return Some(Event::Undone);
        }
        self.begin(ahead, Phase::Undo).or_else(|| park(ahead))
    }

    /// Begins a call that is possible. No undo begins while a call of the action is under
    /// way, even if the outcome is known from another attempt.
    fn begin(&self, ahead: &Record, phase: Phase) -> Option<Event> {
        let ready = |step: &StepIndex| {
            let live = self.live.get(usize::from(*step));
            let idle = live.is_some_and(|live| live.sent.is_none());
            idle && ahead.is_ready(*step, phase)
        };
        let step = ahead.indices().find(ready)?;
        Some(Event::Started {
            step,
            phase,
            attempt: 1,
            after: None,
        })
    }

    fn delivered(&self, ahead: &Record) -> Option<Event> {
        if ahead.is_finished() {
            return None;
        }
        self.delivery.event()
    }
}

impl Record {
    /// Its deadline has passed while it can still be undone.
    fn is_late(&self, now_ms: u64) -> bool {
        let deadline_at_ms = self.started().deadline_at_ms;
        deadline_at_ms.is_some_and(|at_ms| at_ms <= now_ms) && self.may_begin_undo().is_ok()
    }
}

/// A call is not repeated any more.
fn give_up(ahead: &Record, step: StepIndex, phase: Phase, reason: Reason) -> Event {
    match phase == Phase::Action && ahead.may_abandon(step) {
        true => Event::Abandoned { step, reason },
        false => Event::Stuck {
            step,
            phase,
            reason,
        },
    }
}

/// Nothing can go on: all that is left is stuck.
fn park(ahead: &Record) -> Option<Event> {
    ahead.check(&Event::Parked).is_ok().then_some(Event::Parked)
}

/// How much too large an output is.
fn output_room(ahead: &Record, bytes: usize) -> (u64, u64) {
    let limit = ahead.definition().payload_bytes_max();
    let left = SAGA_PAYLOADS_BYTES_MAX.saturating_sub(ahead.payload_bytes());
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    (number(bytes), number(limit.min(left)))
}
