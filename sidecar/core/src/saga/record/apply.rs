//! What an event changes.

use bytes::Bytes;

use super::{Illegal, Record, ResultState, Stage, Status, StepRecord, StepState};
use crate::saga::{
    ErrorClass, Phase, StepIndex,
    event::{Act, Event, Reason, UndoCause},
};

impl Record {
    /// Takes an event. Replaying the events of a saga from its start gives the same record
    /// as living through them.
    ///
    /// # Errors
    /// When the event may not follow; nothing changes then.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        self.check(event)?;
        self.sequence = self.sequence.saturating_add(1);
        match event {
            Event::Started {
                step,
                phase,
                attempt,
                after,
            } => self.begin(*step, *phase, *attempt, *after),
            Event::Succeeded {
                step,
                phase,
                output,
            } => self.succeed(*step, *phase, output),
            Event::Failed {
                step,
                only_call,
                message,
            } => {
                let only_call = *only_call;
                self.settle(*step, StepState::Failed { only_call });
                self.explain(*step, &refused(message));
            }
            Event::Abandoned { step, reason } => {
                self.settle(*step, StepState::Abandoned);
                self.explain(*step, reason);
            }
            Event::Stuck {
                step,
                phase,
                reason,
            } => {
                let (phase, refused) = (*phase, matches!(reason, Reason::Refused { .. }));
                self.settle(*step, StepState::Stuck { phase, refused });
                self.explain(*step, reason);
            }
            Event::UndoBegun { cause } => self.begin_undo(*cause),
            Event::ConfirmBegun => self.status = Status::Working(Stage::Confirm),
            Event::Parked => self.park(false),
            Event::Completed => self.status = Status::Completed,
            Event::Undone => self.status = Status::Undone,
            Event::ResultDelivered => self.result = ResultState::Delivered,
            Event::ResultGivenUp { .. } => self.result = ResultState::GivenUp,
            Event::ByHand { act, .. } => self.act(act),
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Retry { step } => {
                self.unstick(*step);
                self.unpark(false);
            }
            Act::Skip {
                step,
                phase,
                output,
            } => {
                self.succeed(*step, *phase, output);
                self.unpark(false);
            }
            Act::EditInput { step, phase, input } => {
                let bytes = self.payload_bytes;
                let replaced = self.step_mut(*step).map_or(0, |record| {
                    let replaced = record.edited.insert(*phase, input.clone());
                    replaced.map_or(0, |input| input.len())
                });
                self.payload_bytes = bytes.saturating_sub(replaced) + input.len();
            }
            Act::Undo => {
                self.result = ResultState::Pending;
                self.begin_undo(UndoCause::ByHand);
            }
            Act::Park => self.park(true),
            Act::Resume => {
                let stuck: Vec<_> = self.stuck().collect();
                stuck.into_iter().for_each(|step| self.unstick(step));
                self.unpark(true);
            }
        }
    }

    fn begin(&mut self, step: StepIndex, phase: Phase, attempt: u32, after: Option<ErrorClass>) {
        let Some(record) = self.step_mut(step) else {
            return;
        };
        match after {
            None => {
                record.ended = Default::default();
                record.round = 0;
            }
            Some(class) => record.count(class),
        }
        record.called |= phase == Phase::Action;
        record.attempt = attempt;
        record.state = StepState::Calling(phase);
    }

    fn succeed(&mut self, step: StepIndex, phase: Phase, output: &Bytes) {
        let state = match phase {
            Phase::Action => StepState::Succeeded,
            Phase::Undo => StepState::Undone,
            Phase::Confirm => StepState::Confirmed,
        };
        self.settle(step, state);
        if let Some(record) = self.step_mut(step)
            && phase == Phase::Action
        {
            record.output = Some(output.clone());
            self.payload_bytes += output.len();
        }
    }

    fn begin_undo(&mut self, cause: UndoCause) {
        self.status = Status::Working(Stage::Undo);
        self.undo_cause = Some(cause);
    }

    fn park(&mut self, by_hand: bool) {
        if let Some(stage) = self.stage() {
            self.status = Status::Parked { stage, by_hand };
        }
    }

    /// What was parked because it was stuck goes on when it is not. What a person parked
    /// goes on when a person says so.
    fn unpark(&mut self, resumed: bool) {
        if let Status::Parked { stage, by_hand } = self.status
            && (resumed || !by_hand)
        {
            self.status = Status::Working(stage);
        }
    }

    /// A stuck step is called again, with all its attempts before it. After a refusal, which
    /// is final for the idempotency key, it gets a key of its own.
    fn unstick(&mut self, step: StepIndex) {
        let Some(record) = self.step_mut(step) else {
            return;
        };
        record.ended = Default::default();
        if let StepState::Stuck { phase, refused } = record.state {
            record.attempt = record.attempt.saturating_add(1);
            record.round = record.round.saturating_add(refused.into());
            record.state = StepState::Calling(phase);
        }
    }

    fn settle(&mut self, step: StepIndex, state: StepState) {
        if let Some(record) = self.step_mut(step) {
            record.state = state;
        }
    }

    fn explain(&mut self, step: StepIndex, reason: &Reason) {
        if let Some(record) = self.step_mut(step) {
            record.reason = Some(reason.clone());
        }
    }

    fn step_mut(&mut self, step: StepIndex) -> Option<&mut StepRecord> {
        self.steps.get_mut(usize::from(step))
    }
}

impl StepRecord {
    fn count(&mut self, class: ErrorClass) {
        if let Some(count) = self.ended.get_mut(usize::from(class.number())) {
            *count = count.saturating_add(1);
        }
    }
}

fn refused(message: &str) -> Reason {
    Reason::Refused {
        message: message.to_owned(),
    }
}
