//! What people may do, and when.

use super::{
    Illegal, Record, Status, StepState,
    check::{ID_BYTES_MAX, check_text, stage_of},
};
use crate::{
    limits::REASON_CHARACTERS_MAX,
    saga::{
        Phase, StepIndex,
        event::{Act, Note},
    },
};

/// `saga:` and an id.
const BY_CHARACTERS_MAX: usize = ID_BYTES_MAX + 5;

impl Record {
    pub(super) fn check_act(&self, act: &Act, note: &Note) -> Result<(), Illegal> {
        match act {
            Act::Retry { step } => {
                self.check_not_ended("Retry")?;
                match self.known(*step)?.state {
                    StepState::Stuck { .. } => Ok(()),
                    StepState::Calling(phase) if self.stage() == Some(stage_of(phase)) => Ok(()),
                    StepState::Calling(_)
                    | StepState::Waiting
                    | StepState::Succeeded
                    | StepState::Failed { .. }
                    | StepState::Abandoned
                    | StepState::Undone
                    | StepState::Confirmed => Err(self.wrong_state("Retry", *step)),
                }
            }
            Act::Skip {
                step,
                phase,
                output,
            } => {
                self.check_skip(*step, *phase)?;
                self.check_payload("output", *step, output.len(), 0)
            }
            Act::EditInput { step, phase, input } => {
                let replaced = self.check_edit(*step, *phase)?;
                self.check_payload("input", *step, input.len(), replaced)
            }
            Act::Undo => self.check_undo_by_hand(note),
            Act::Park => match self.status {
                Status::Working(_) | Status::Parked { by_hand: false, .. } => Ok(()),
                Status::Parked { by_hand: true, .. } | Status::Completed | Status::Undone => {
                    Err(self.wrong_status("Park"))
                }
            },
            Act::Resume => match self.status {
                Status::Parked { .. } => Ok(()),
                Status::Working(_) | Status::Completed | Status::Undone => {
                    Err(self.wrong_status("Resume"))
                }
            },
        }
    }

    /// A stuck step may be skipped at any time, another one only while the saga is parked
    /// and only when it would be its turn.
    fn check_skip(&self, step: StepIndex, phase: Phase) -> Result<(), Illegal> {
        let record = self.known(step)?;
        self.check_not_ended("Skip")?;
        if self.stage() != Some(stage_of(phase)) {
            return Err(self.wrong_status("Skip"));
        }
        match record.state {
            StepState::Stuck { phase: stuck, .. } if stuck == phase => Ok(()),
            StepState::Calling(called) if called == phase => self.check_is_parked("Skip"),
            StepState::Waiting
            | StepState::Succeeded
            | StepState::Failed { .. }
            | StepState::Abandoned => {
                self.check_is_parked("Skip")?;
                self.check_ready("Skip", step, phase)
            }
            StepState::Calling(_)
            | StepState::Stuck { .. }
            | StepState::Undone
            | StepState::Confirmed => Err(self.wrong_state("Skip", step)),
        }
    }

    /// Answers how many bytes the edited input replaces.
    fn check_edit(&self, step: StepIndex, phase: Phase) -> Result<usize, Illegal> {
        let record = self.known(step)?;
        self.check_not_ended("EditInput")?;
        if self.definition.action(step, phase).is_none() {
            let step = self.step_name(step);
            return Err(Illegal::NothingToCall { step, phase });
        }
        match (record.state, phase) {
            (StepState::Stuck { phase: stuck, .. }, _) if stuck == phase => {}
            (StepState::Calling(called), _) if called == phase => {
                self.check_is_parked("EditInput")?;
            }
            (StepState::Waiting, Phase::Action)
            | (StepState::Waiting | StepState::Calling(Phase::Action), _)
            | (
                StepState::Succeeded | StepState::Failed { .. } | StepState::Abandoned,
                Phase::Undo | Phase::Confirm,
            ) => self.check_is_parked("EditInput")?,
            (
                StepState::Succeeded | StepState::Failed { .. } | StepState::Abandoned,
                Phase::Action,
            )
            | (
                StepState::Calling(_)
                | StepState::Stuck { .. }
                | StepState::Undone
                | StepState::Confirmed,
                _,
            ) => return Err(self.wrong_state("EditInput", step)),
        }
        Ok(record.edited.get(&phase).map_or(0, |input| input.len()))
    }

    fn check_undo_by_hand(&self, note: &Note) -> Result<(), Illegal> {
        match self.status {
            Status::Working(_) | Status::Parked { .. } => self.may_begin_undo(),
            Status::Completed => {
                let parent = self.start.parent.as_ref();
                let by_parent = parent.is_some_and(|p| note.by == Note::by_saga(&p.saga));
                match by_parent && self.definition.is_undoable_when_completed() {
                    true => Ok(()),
                    false => Err(Illegal::Completed),
                }
            }
            Status::Undone => Err(self.wrong_status("Undo")),
        }
    }
}

pub(super) fn check_note(note: &Note) -> Result<(), Illegal> {
    for (field, text, limit) in [
        ("by", &note.by, BY_CHARACTERS_MAX),
        ("reason", &note.reason, REASON_CHARACTERS_MAX),
    ] {
        if text.trim().is_empty() {
            return Err(Illegal::Empty { field });
        }
        check_text(field, text, limit)?;
    }
    Ok(())
}
