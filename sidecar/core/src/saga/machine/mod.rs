//! The saga as its owner runs it.

mod decide;
mod delivery;
mod effect;
mod live;

pub use effect::{Call, Effect, Error, Input};

use delivery::Delivery;
use live::{Ended, Live, Sent};

use super::{
    ErrorClass, Outcome, Phase, StepIndex,
    definition::Retry,
    event::{Act, Event},
    record::{Record, Stage, Status, StepState, stage_of},
};
use crate::limits::SAGA_MESSAGE_CHARACTERS_MAX;

/// How long after its timeout a call that nobody reported on counts as timed out.
const CALL_GRACE_MS: u64 = 5_000;

/// One saga in the hands of its owner: what is recorded, and the calls that are under way.
///
/// It asks for what is recorded at every step and decides from there, so a saga that was
/// just taken over goes the same way as one that was never left: a recorded call of which
/// this owner knows no end is made (again).
#[derive(Debug, Clone)]
pub struct Saga {
    record: Record,
    live: Vec<Live>,
    /// The events that are being recorded.
    appending: Option<Vec<Event>>,
    delivery: Delivery,
}

impl Saga {
    /// Takes a saga as it is recorded: one that was just started, or one whose owner is
    /// gone. [`Input::Tick`] sets it going.
    #[must_use]
    pub fn recover(record: Record) -> Self {
        let live = record.steps().iter().map(|_| Live::default());
        Self {
            live: live.collect(),
            record,
            appending: None,
            delivery: Delivery::default(),
        }
    }

    /// What is recorded.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// It has ended, and its result is where it should be: nothing will come from it any
    /// more, except when it is a step of another saga and is undone.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.record.is_finished() && self.appending.is_none()
    }

    /// Everything that this owner knows is recorded, and nothing is under way: the saga that
    /// [`Saga::recover`] makes of its record is this one, but for calls that are kept back.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let idle = |live: &Live| live.sent.is_none() && live.ended.is_none();
        self.appending.is_none() && self.live.iter().all(idle) && self.delivery.is_quiet()
    }

    /// Takes a recorded event, its own or a person's, in the order of the record.
    /// `sequence` is its number, from 1. False: it was known already.
    ///
    /// # Errors
    /// When an event is missing before it, or it cannot follow.
    pub fn apply(&mut self, sequence: u64, event: &Event) -> Result<bool, Error> {
        let expected = self.record.sequence() + 1;
        if sequence < expected {
            return Ok(false);
        }
        if sequence > expected {
            return Err(Error::Gap { sequence, expected });
        }
        #[cfg(test)]
        let event = &super::tests::planted_event(&self.record, event);
        self.record.apply(event)?;
        self.notice(event);
        Ok(true)
    }

    /// Takes an input. `random` is any uniformly distributed number.
    ///
    /// # Errors
    /// When the input is about a call that was never made; nothing changes then.
    pub fn step(
        &mut self,
        now_ms: u64,
        random: u64,
        input: Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        match input {
            Input::Tick => {}
            Input::Ended {
                step,
                phase,
                attempt,
                outcome,
            } => self.ended(now_ms, random, step, phase, attempt, outcome)?,
            Input::KeptBack {
                step,
                phase,
                attempt,
            } => self.keep_back(step, phase, attempt),
            Input::DeliveryKeptBack => self.delivery.keep_back(),
            Input::LetThrough => {
                self.live.iter_mut().for_each(|live| live.kept_back = None);
                self.delivery.let_through();
            }
            Input::Appended | Input::Refused => self.appending = None,
            Input::DeliveryEnded { delivered } => self.delivery.ended(now_ms, random, delivered),
        }
        self.time_out(now_ms, random);
        if self.appending.is_some() {
            return Ok(());
        }
        self.go_on(now_ms, effects)
    }

    /// When to [`Input::Tick`] at the latest; nothing while events are being recorded.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.appending.is_some() {
            return None;
        }
        let timeouts = self.live.iter().filter_map(|live| live.sent);
        let timeouts = timeouts.map(|sent| sent.until_ms);
        let own = match self.record.status() {
            Status::Working(stage) => self.working_deadline(stage),
            Status::Parked { .. } => None,
            Status::Completed | Status::Undone if self.record.is_finished() => None,
            Status::Completed | Status::Undone => self.delivery.next_deadline(),
        };
        timeouts.chain(own).min()
    }

    fn working_deadline(&self, stage: Stage) -> Option<u64> {
        let retries = self.record.indices().filter_map(|step| {
            let ended = self.relevant_end(&self.record, step)?;
            ended.class().map(|_| ended.retry_at_ms)
        });
        let forward = (stage == Stage::Forward).then(|| {
            let start = self.record.started();
            let begun = self.record.unless_all(StepState::Waiting).is_some();
            let start_at_ms = (!begun).then_some(start.start_at_ms);
            let undoable = self.record.may_begin_undo().is_ok();
            let deadline_at_ms = start.deadline_at_ms.filter(|_| undoable);
            start_at_ms.into_iter().chain(deadline_at_ms).min()
        });
        retries.chain(forward.flatten()).min()
    }

    /// The end of the call that is recorded as under way.
    fn relevant_end(&self, record: &Record, step: StepIndex) -> Option<&Ended> {
        let known = record.step(step)?;
        let StepState::Calling(phase) = known.state else {
            return None;
        };
        let ended = self.live.get(usize::from(step))?.ended.as_ref()?;
        ended.is_about(phase, known.attempt).then_some(ended)
    }

    fn ended(
        &mut self,
        now_ms: u64,
        random: u64,
        step: StepIndex,
        phase: Phase,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let known = self.record.step(step);
        let calling = known.filter(|known| known.state == StepState::Calling(phase));
        let made = known.is_some_and(|known| match known.state {
            StepState::Calling(called) => called != phase || attempt <= known.attempt,
            StepState::Waiting => false,
            StepState::Succeeded
            | StepState::Failed { .. }
            | StepState::Abandoned
            | StepState::Stuck { .. }
            | StepState::Undone
            | StepState::Confirmed => true,
        });
        if !made || attempt == 0 {
            return Err(Error::NeverCalled {
                step,
                phase,
                attempt,
            });
        }
        let retry_at_ms = calling.map_or(now_ms, |known| {
            let retry = self.record.definition().action(step, phase);
            let wait_ms = retry.map_or(0, |action| {
                wait_ms(
                    &action.retry,
                    known,
                    &outcome,
                    random.wrapping_add(step.into()),
                )
            });
            now_ms.saturating_add(wait_ms)
        });
        let current = calling.map(|known| known.attempt);
        let Some(live) = self.live.get_mut(usize::from(step)) else {
            return Ok(());
        };
        if live
            .sent
            .is_some_and(|s| s.phase == phase && s.attempt == attempt)
        {
            live.sent = None;
        }
        let ended = Ended {
            phase,
            attempt,
            outcome: shortened(outcome),
            retry_at_ms,
        };
        // Late ends of earlier attempts are news only if they are successes; a success is
        // never replaced.
        let known_success = live.ended.as_ref().is_some_and(|e| {
            e.class().is_none() && current.is_some_and(|current| e.is_about(phase, current))
        });
        if !known_success && current.is_some_and(|current| ended.is_about(phase, current)) {
            live.ended = Some(ended);
        }
        Ok(())
    }

    fn keep_back(&mut self, step: StepIndex, phase: Phase, attempt: u32) {
        let Some(live) = self.live.get_mut(usize::from(step)) else {
            return;
        };
        let is_it = |sent: &Sent| sent.phase == phase && sent.attempt == attempt;
        if live.sent.as_ref().is_some_and(is_it) {
            live.sent = None;
            live.kept_back = Some((phase, attempt));
        }
    }

    /// A call that nobody reported on is taken as timed out.
    fn time_out(&mut self, now_ms: u64, random: u64) {
        for step in self.record.indices() {
            let sent = self.live.get(usize::from(step)).and_then(|live| live.sent);
            let Some(sent) = sent.filter(|sent| sent.until_ms <= now_ms) else {
                continue;
            };
            let outcome = Outcome::Unsettled {
                class: ErrorClass::TimedOut,
                message: "nobody reported how the call ended".to_owned(),
                retry_after_ms: None,
            };
            // The call was made, so this cannot be refused.
            let _ = self.ended(now_ms, random, step, sent.phase, sent.attempt, outcome);
            if let Some(live) = self.live.get_mut(usize::from(step)) {
                live.sent = None;
            }
        }
    }

    /// Keeps what this owner knows in step with what is recorded.
    fn notice(&mut self, event: &Event) {
        match event {
            Event::Started {
                step,
                phase: Phase::Action,
                attempt: 1,
                ..
            } => {
                // A person records no calls, so the event is this owner's own, unless it was
                // recorded before this owner came.
                let ours = self.appending.is_some();
                if let Some(live) = self.live.get_mut(usize::from(*step)) {
                    live.first_is_ours = ours;
                }
            }
            Event::ByHand {
                act: Act::Retry { step },
                ..
            } => {
                let live = self.live.get_mut(usize::from(*step));
                if let Some(ended) = live.and_then(|live| live.ended.as_mut()) {
                    ended.retry_at_ms = 0;
                }
            }
            Event::Started { .. }
            | Event::Succeeded { .. }
            | Event::Failed { .. }
            | Event::Abandoned { .. }
            | Event::Stuck { .. }
            | Event::UndoBegun { .. }
            | Event::ConfirmBegun
            | Event::Parked
            | Event::ResultDelivered
            | Event::ResultGivenUp { .. } => {}
            Event::Completed | Event::Undone => self.delivery = Delivery::default(),
            Event::ByHand { .. } => {}
        }
        for step in self.record.indices() {
            let relevant = self.relevant_end(&self.record, step).is_some();
            if let Some(live) = self.live.get_mut(usize::from(step))
                && !relevant
            {
                live.ended = None;
            }
        }
    }

    /// Records what is to be recorded and makes the calls that may be made.
    fn go_on(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Error> {
        let (ahead, events) = loop {
            let (ahead, events) = self.decide(now_ms)?;
            #[cfg(test)]
            if self.record.planted == Some(super::tests::Planted::SendsTooEarly) {
                let recorded = std::mem::replace(&mut self.record, ahead.clone());
                self.make_calls(now_ms, &ahead, effects);
                self.record = recorded;
                break (ahead, events);
            }
            // A call that cannot be made because its input cannot be made has ended.
            if !self.make_calls(now_ms, &ahead, effects) {
                break (ahead, events);
            }
        };
        if !events.is_empty() {
            effects.push(Effect::Append {
                after: self.record.sequence(),
                events: events.clone(),
            });
            self.appending = Some(events);
        } else if ahead.stage().is_none()
            && !ahead.is_finished()
            && let Some(attempt) = self.delivery.next_attempt(now_ms)
        {
            effects.push(Effect::Deliver { attempt });
        }
        Ok(())
    }

    /// Makes every recorded call of which no end is known, unless the events that are
    /// recorded next make it needless. True when one could not be made.
    fn make_calls(&mut self, now_ms: u64, ahead: &Record, effects: &mut Vec<Effect>) -> bool {
        let mut failed = false;
        for step in self.record.indices() {
            let Some(known) = self.record.step(step) else {
                continue;
            };
            let StepState::Calling(phase) = known.state else {
                continue;
            };
            let still = ahead
                .step(step)
                .is_some_and(|next| next.state == known.state && next.attempt == known.attempt);
            let working = Status::Working(stage_of(phase));
            let may = still && self.record.status() == working && ahead.status() == working;
            let live = self.live.get(usize::from(step));
            let idle = live.is_some_and(|live| {
                let kept_back = live.kept_back == Some((phase, known.attempt));
                live.sent.is_none() && !kept_back
            });
            if !may || !idle || self.relevant_end(&self.record, step).is_some() {
                continue;
            }
            let attempt = known.attempt;
            let call = self.call(step, phase, attempt);
            let Some(live) = self.live.get_mut(usize::from(step)) else {
                continue;
            };
            match call {
                Ok(call) => {
                    let until_ms = now_ms.saturating_add(call.timeout_ms + CALL_GRACE_MS);
                    live.sent = Some(Sent {
                        phase,
                        attempt,
                        until_ms,
                    });
                    effects.push(Effect::Call(call));
                }
                Err(message) => {
                    failed = true;
                    live.ended = Some(Ended {
                        phase,
                        attempt,
                        outcome: shortened(Outcome::Failure { message }),
                        retry_at_ms: now_ms,
                    });
                }
            }
        }
        failed
    }

    fn call(&self, step: StepIndex, phase: Phase, attempt: u32) -> Result<Call, String> {
        let payload = self.record.payload(step, phase);
        let payload = payload.map_err(|error| format!("the mapping of the input {error}"))?;
        let known = self.record.step(step);
        let output = known.and_then(|known| known.output.clone());
        let action = self.record.definition().action(step, phase);
        Ok(Call {
            step,
            phase,
            attempt,
            idempotency_key: self.record.idempotency_key(step, phase),
            payload,
            action_output: output.filter(|_| phase != Phase::Action),
            timeout_ms: action.map_or(0, |action| action.timeout_ms),
        })
    }
}

fn wait_ms(
    retry: &Retry,
    known: &super::record::StepRecord,
    outcome: &Outcome,
    random: u64,
) -> u64 {
    match outcome {
        Outcome::Success { .. } | Outcome::Failure { .. } => 0,
        Outcome::Unsettled {
            class,
            retry_after_ms,
            ..
        } => {
            let ended = known.ended(retry, *class).saturating_add(1);
            retry.policy(*class).wait_ms(ended, random, *retry_after_ms)
        }
    }
}

fn shortened(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Success { .. } => outcome,
        Outcome::Failure { message } => Outcome::Failure {
            message: short(message),
        },
        Outcome::Unsettled {
            class,
            message,
            retry_after_ms,
        } => Outcome::Unsettled {
            class,
            message: short(message),
            retry_after_ms,
        },
    }
}

fn short(message: String) -> String {
    match message.char_indices().nth(SAGA_MESSAGE_CHARACTERS_MAX) {
        Some((end, _)) => message.get(..end).unwrap_or_default().to_owned(),
        None => message,
    }
}
