use std::sync::Arc;

use bytes::Bytes;

use super::{Answer, Kept, Ledger, Refusal, Reported};
use crate::saga::{
    Phase, StepIndex,
    event::{Event, Reason},
    record::{Record, StepState},
};

impl Ledger {
    pub(super) fn report(
        &mut self,
        now_ms: u64,
        saga: String,
        step: String,
        phase: Phase,
        outcome: Reported,
        ended: Option<Arc<Kept>>,
    ) -> Result<Answer, Refusal> {
        let kept = self.known(&saga, ended.as_ref())?;
        let record = &kept.record;
        let Some(index) = record.definition().index_of(&step) else {
            return Err(Refusal::UnknownStep { saga, step });
        };
        if record.step(index).map(|step| step.state()) == Some(StepState::Calling(phase)) {
            let event = event(record, index, phase, outcome);
            return self.tell(now_ms, &saga, event, ended);
        }
        if is_settled_alike(record, index, phase, &outcome) {
            return Ok(Answer::Acted {
                sequence: record.sequence(),
                owner: kept.tenure.and_then(|tenure| self.owners.owner(tenure)),
            });
        }
        Err(Refusal::NotCalled { saga, step, phase })
    }
}

/// What the end of a call that is under way means.
fn event(record: &Record, step: StepIndex, phase: Phase, outcome: Reported) -> Event {
    let can_fail = || {
        let defined = record.definition().step(step);
        phase == Phase::Action && defined.is_some_and(|step| !step.after_pivot)
    };
    match outcome {
        Reported::Success { output } => Event::Succeeded {
            step,
            phase,
            output: match phase {
                Phase::Action => output,
                Phase::Undo | Phase::Confirm => Bytes::new(),
            },
        },
        // Nobody can say here that no other call was sent.
        Reported::Failure { message } if can_fail() => Event::Failed {
            step,
            only_call: false,
            message,
        },
        // What has to succeed waits for a person.
        Reported::Failure { message } => Event::Stuck {
            step,
            phase,
            reason: Reason::Refused { message },
        },
    }
}

/// Whether the same end of the call was recorded before.
fn is_settled_alike(record: &Record, step: StepIndex, phase: Phase, outcome: &Reported) -> bool {
    let Some(step) = record.step(step) else {
        return false;
    };
    let stuck = StepState::Stuck {
        phase,
        refused: true,
    };
    match (outcome, phase) {
        // Only an action that has succeeded has an output, be it an empty one.
        (Reported::Success { .. }, Phase::Action) => step.output().is_some(),
        (Reported::Success { .. }, Phase::Undo) => step.state() == StepState::Undone,
        (Reported::Success { .. }, Phase::Confirm) => step.state() == StepState::Confirmed,
        (Reported::Failure { .. }, Phase::Action) => {
            let refused = matches!(step.reason(), Some(Reason::Refused { .. }));
            let settled = step.state() != StepState::Waiting;
            refused && settled && step.output().is_none()
        }
        (Reported::Failure { .. }, Phase::Undo | Phase::Confirm) => step.state() == stuck,
    }
}
