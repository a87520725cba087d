//! The one function that says which event may follow.

use super::{
    Illegal, Record, ResultState, Stage, StartError, Status, StepRecord, StepState,
    by_hand::check_note,
};
use crate::{
    limits::{
        SAGA_DEPTH_MAX, SAGA_ID_CHARACTERS_MAX, SAGA_MESSAGE_CHARACTERS_MAX,
        SAGA_PAYLOADS_BYTES_MAX, SAGA_STEP_CHARACTERS_MAX,
    },
    saga::{
        Definition, Phase, StepIndex,
        definition::Mode,
        event::{Event, Reason, Start, UndoCause},
    },
};

/// A saga in a saga has the ids of all above it in its own.
pub(super) const ID_BYTES_MAX: usize =
    SAGA_ID_CHARACTERS_MAX + SAGA_DEPTH_MAX * (SAGA_STEP_CHARACTERS_MAX + 1);

pub(super) fn start(definition: &Definition, start: &Start) -> Result<(), StartError> {
    let (bytes, limit) = (start.saga.len(), ID_BYTES_MAX);
    if bytes == 0 || bytes > limit {
        return Err(StartError::Id { bytes, limit });
    }
    if start.definition != definition.name() || start.version != definition.version() {
        return Err(StartError::Definition {
            definition: start.definition.clone(),
            version: start.version,
        });
    }
    let (bytes, limit) = (start.input.len(), definition.payload_bytes_max());
    if bytes > limit {
        return Err(StartError::InputTooLarge { bytes, limit });
    }
    match start.deadline_at_ms {
        Some(deadline_at_ms) if deadline_at_ms <= start.start_at_ms => Err(StartError::Deadline {
            deadline_at_ms,
            start_at_ms: start.start_at_ms,
        }),
        Some(_) | None => Ok(()),
    }
}

impl Record {
    /// Says whether an event may follow.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, event: &Event) -> Result<(), Illegal> {
        match event {
            Event::Started {
                step,
                phase,
                attempt,
                after,
            } => self.check_started(*step, *phase, *attempt, after.is_some()),
            Event::Succeeded {
                step,
                phase,
                output,
            } => {
                self.check_calling("Succeeded", *step, *phase)?;
                self.check_not_ended("Succeeded")?;
                self.check_payload("output", *step, output.len(), 0)
            }
            Event::Failed {
                step,
                only_call,
                message,
            } => {
                let record = self.check_calling("Failed", *step, Phase::Action)?;
                self.check_not_ended("Failed")?;
                check_message(message)?;
                if self.definition.step(*step).is_some_and(|s| s.after_pivot) {
                    // What comes after the point of no return cannot fail.
                    return Err(self.wrong_state("Failed", *step));
                }
                if *only_call && record.attempt != 1 {
                    return Err(Illegal::NotOnlyCall {
                        step: self.step_name(*step),
                        attempt: record.attempt,
                    });
                }
                Ok(())
            }
            Event::Abandoned { step, reason } => {
                self.check_calling("Abandoned", *step, Phase::Action)?;
                check_reason(reason)?;
                let undoing = *reason == Reason::Undoing;
                match self.status {
                    Status::Working(Stage::Forward) if !undoing => {}
                    Status::Working(Stage::Undo) => {}
                    Status::Working(Stage::Forward | Stage::Confirm)
                    | Status::Parked { .. }
                    | Status::Completed
                    | Status::Undone => return Err(self.wrong_status("Abandoned")),
                }
                match self.may_abandon(*step) {
                    true => Ok(()),
                    false => Err(self.wrong_state("Abandoned", *step)),
                }
            }
            Event::Stuck {
                step,
                phase,
                reason,
            } => {
                self.check_calling("Stuck", *step, *phase)?;
                check_reason(reason)?;
                if self.status != Status::Working(stage_of(*phase)) {
                    return Err(self.wrong_status("Stuck"));
                }
                match *phase == Phase::Action && self.may_abandon(*step) {
                    true => Err(self.wrong_state("Stuck", *step)),
                    false => Ok(()),
                }
            }
            Event::UndoBegun { cause } => self.check_undo_begun(*cause),
            Event::ConfirmBegun => {
                self.check_stage("ConfirmBegun", Stage::Forward)?;
                match self.definition.mode() {
                    Mode::Saga => Err(self.wrong_status("ConfirmBegun")),
                    Mode::Tcc => self.check_all("ConfirmBegun", StepState::Succeeded),
                }
            }
            Event::Parked => self.check_parked(),
            Event::Completed => {
                let stage = match self.definition.mode() {
                    Mode::Saga => Stage::Forward,
                    Mode::Tcc => Stage::Confirm,
                };
                self.check_stage("Completed", stage)?;
                self.check_all("Completed", self.goal())
            }
            Event::Undone => {
                self.check_stage("Undone", Stage::Undo)?;
                let left = self.indices().find(|step| !self.is_clear(*step));
                left.map_or(Ok(()), |step| Err(self.not_yet("Undone", step)))
            }
            Event::ResultDelivered => self.check_result(),
            Event::ResultGivenUp { message } => {
                check_message(message)?;
                self.check_result()
            }
            Event::ByHand { act, note } => {
                check_note(note)?;
                self.check_act(act, note)
            }
        }
    }

    fn check_started(
        &self,
        step: StepIndex,
        phase: Phase,
        attempt: u32,
        again: bool,
    ) -> Result<(), Illegal> {
        let record = self.known(step)?;
        self.check_stage("Started", stage_of(phase))?;
        if self.definition.action(step, phase).is_none() {
            let step = self.step_name(step);
            return Err(Illegal::NothingToCall { step, phase });
        }
        if phase == Phase::Action
            && let Some(failed) = self.failed()
        {
            return Err(Illegal::HasFailed {
                event: "Started",
                step: self.step_name(failed),
            });
        }
        let expected = if again {
            self.check_calling("Started", step, phase)?;
            record.attempt.saturating_add(1)
        } else {
            self.check_ready("Started", step, phase)?;
            1
        };
        if attempt == expected {
            return Ok(());
        }
        Err(Illegal::Attempt {
            step: self.step_name(step),
            phase,
            attempt,
            expected,
        })
    }

    /// The step may be called for the first time in this phase.
    pub(super) fn check_ready(
        &self,
        event: &'static str,
        step: StepIndex,
        phase: Phase,
    ) -> Result<(), Illegal> {
        let ready = match phase {
            Phase::Action => self.state(step) == StepState::Waiting,
            Phase::Undo => self.needs_undo(step),
            Phase::Confirm => self.state(step) == StepState::Succeeded,
        };
        if !ready {
            return Err(self.wrong_state(event, step));
        }
        match phase {
            Phase::Action => match self.unmet_dependency(step) {
                None => Ok(()),
                Some(dependency) => Err(Illegal::Dependency {
                    step: self.step_name(step),
                    dependency: self.step_name(dependency),
                }),
            },
            Phase::Undo => match self.uncleared_dependent(step) {
                None => Ok(()),
                Some(dependent) => Err(Illegal::Dependent {
                    step: self.step_name(step),
                    dependent: self.step_name(dependent),
                }),
            },
            Phase::Confirm => Ok(()),
        }
    }

    /// Whether a step may be called for the first time in this phase.
    pub(in crate::saga) fn is_ready(&self, step: StepIndex, phase: Phase) -> bool {
        self.definition.action(step, phase).is_some()
            && self.check_ready("Started", step, phase).is_ok()
    }

    fn unmet_dependency(&self, step: StepIndex) -> Option<StepIndex> {
        let dependencies = self.definition.step(step).map(|s| &s.depends_on);
        let mut dependencies = dependencies.into_iter().flatten();
        dependencies
            .find(|d| self.state(**d) != StepState::Succeeded)
            .copied()
    }

    fn check_undo_begun(&self, cause: UndoCause) -> Result<(), Illegal> {
        self.check_stage("UndoBegun", Stage::Forward)?;
        self.may_begin_undo()?;
        let cause = match cause {
            UndoCause::Step(step) => match self.known(step)?.state {
                StepState::Failed { .. } | StepState::Abandoned => return Ok(()),
                StepState::Waiting
                | StepState::Calling(_)
                | StepState::Succeeded
                | StepState::Stuck { .. }
                | StepState::Undone
                | StepState::Confirmed => "the step has not failed",
            },
            UndoCause::Deadline if self.start.deadline_at_ms.is_some() => return Ok(()),
            UndoCause::Deadline => "it has no deadline",
            UndoCause::ByHand => "nobody wanted it",
        };
        Err(Illegal::Cause { cause })
    }

    fn check_parked(&self) -> Result<(), Illegal> {
        match self.status {
            Status::Working(_) => {}
            Status::Parked { .. } | Status::Completed | Status::Undone => {
                return Err(self.wrong_status("Parked"));
            }
        }
        let calling = |step: &StepIndex| matches!(self.state(*step), StepState::Calling(_));
        if let Some(step) = self.indices().find(calling) {
            return Err(self.not_yet("Parked", step));
        }
        self.stuck()
            .next()
            .map_or(Err(Illegal::NothingStuck), |_| Ok(()))
    }

    fn check_result(&self) -> Result<(), Illegal> {
        let ended = match self.status {
            Status::Completed | Status::Undone => true,
            Status::Working(_) | Status::Parked { .. } => false,
        };
        match ended && !self.is_finished() && self.result == ResultState::Pending {
            true => Ok(()),
            false => Err(Illegal::NoResult),
        }
    }

    fn check_calling(
        &self,
        event: &'static str,
        step: StepIndex,
        phase: Phase,
    ) -> Result<&StepRecord, Illegal> {
        let record = self.known(step)?;
        if record.state == StepState::Calling(phase) {
            return Ok(record);
        }
        Err(self.wrong_state(event, step))
    }

    fn check_stage(&self, event: &'static str, stage: Stage) -> Result<(), Illegal> {
        if self.status == Status::Working(stage) {
            return Ok(());
        }
        Err(self.wrong_status(event))
    }

    pub(super) fn check_not_ended(&self, event: &'static str) -> Result<(), Illegal> {
        match self.status {
            Status::Working(_) | Status::Parked { .. } => Ok(()),
            Status::Completed | Status::Undone => Err(self.wrong_status(event)),
        }
    }

    pub(super) fn check_is_parked(&self, event: &'static str) -> Result<(), Illegal> {
        match self.status {
            Status::Parked { .. } => Ok(()),
            Status::Working(_) | Status::Completed | Status::Undone => {
                Err(self.wrong_status(event))
            }
        }
    }

    fn check_all(&self, event: &'static str, state: StepState) -> Result<(), Illegal> {
        match self.unless_all(state) {
            None => Ok(()),
            Some(step) => Err(self.not_yet(event, step)),
        }
    }

    pub(super) fn check_payload(
        &self,
        what: &'static str,
        step: StepIndex,
        bytes: usize,
        replaced: usize,
    ) -> Result<(), Illegal> {
        let limit = self.definition.payload_bytes_max();
        if bytes > limit {
            return Err(Illegal::PayloadTooLarge {
                what,
                step: self.step_name(step),
                bytes,
                limit,
            });
        }
        let kept = self.payload_bytes.saturating_sub(replaced);
        let (bytes, limit) = (kept.saturating_add(bytes), SAGA_PAYLOADS_BYTES_MAX);
        match bytes > limit {
            true => Err(Illegal::PayloadsTooLarge { bytes, limit }),
            false => Ok(()),
        }
    }

    /// What it is at, or will be again.
    pub(in crate::saga) fn stage(&self) -> Option<Stage> {
        match self.status {
            Status::Working(stage) | Status::Parked { stage, .. } => Some(stage),
            Status::Completed | Status::Undone => None,
        }
    }

    pub(super) fn known(&self, step: StepIndex) -> Result<&StepRecord, Illegal> {
        self.step(step).ok_or(Illegal::UnknownStep {
            step,
            steps: self.steps.len(),
        })
    }

    pub(super) fn wrong_state(&self, event: &'static str, step: StepIndex) -> Illegal {
        let state = self.state(step);
        let step = self.step_name(step);
        Illegal::Step { event, step, state }
    }

    fn not_yet(&self, event: &'static str, step: StepIndex) -> Illegal {
        let state = self.state(step);
        let step = self.step_name(step);
        Illegal::NotYet { event, step, state }
    }
}

/// In which stage a phase is called.
pub(in crate::saga) fn stage_of(phase: Phase) -> Stage {
    match phase {
        Phase::Action => Stage::Forward,
        Phase::Undo => Stage::Undo,
        Phase::Confirm => Stage::Confirm,
    }
}

fn check_reason(reason: &Reason) -> Result<(), Illegal> {
    match reason {
        Reason::Refused { message } | Reason::Exhausted { message, .. } => check_message(message),
        Reason::OutputTooLarge { .. } | Reason::Undoing => Ok(()),
    }
}

fn check_message(message: &str) -> Result<(), Illegal> {
    check_text("message", message, SAGA_MESSAGE_CHARACTERS_MAX)
}

pub(super) fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), Illegal> {
    let characters = text.chars().count();
    match characters > limit {
        true => Err(Illegal::TooLong {
            field,
            characters,
            limit,
        }),
        false => Ok(()),
    }
}
