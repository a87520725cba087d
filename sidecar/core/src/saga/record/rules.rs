//! What may be undone, and when.

use super::{Illegal, Record, Stage, Status, StepState};
use crate::saga::{Phase, StepIndex, definition::Mode};

impl Record {
    /// The step may have had an effect that its undo takes back. An action whose outcome is
    /// unknown counts, and so does one that was refused if any other call of it was sent.
    pub(in crate::saga) fn needs_undo(&self, step: StepIndex) -> bool {
        let Some(record) = self.step(step) else {
            return false;
        };
        let undoable = self.definition.action(step, Phase::Undo).is_some();
        let perhaps = match record.state {
            StepState::Succeeded | StepState::Failed { only_call: false } => true,
            #[cfg(test)]
            StepState::Abandoned
                if self.planted == Some(crate::saga::tests::Planted::ForgetsUnknown) =>
            {
                false
            }
            StepState::Abandoned => true,
            // Being undone is not being in need of it.
            StepState::Waiting
            | StepState::Calling(_)
            | StepState::Failed { only_call: true }
            | StepState::Stuck { .. }
            | StepState::Undone
            | StepState::Confirmed => false,
        };
        undoable && perhaps && record.called
    }

    /// Nothing of the step is left: it has no effect, and neither has any step that depends
    /// on it.
    pub(in crate::saga) fn is_clear(&self, step: StepIndex) -> bool {
        let own = match self.state(step) {
            StepState::Waiting | StepState::Undone => true,
            StepState::Calling(_) | StepState::Stuck { .. } | StepState::Confirmed => false,
            StepState::Succeeded | StepState::Failed { .. } | StepState::Abandoned => {
                !self.needs_undo(step)
            }
        };
        own && self.uncleared_dependent(step).is_none()
    }

    /// A step that depends on this one and of which something is left.
    pub(super) fn uncleared_dependent(&self, step: StepIndex) -> Option<StepIndex> {
        #[cfg(test)]
        if self.planted == Some(crate::saga::tests::Planted::UndoTooEarly) {
            return None;
        }
        let dependents = self.definition.step(step).map(|s| &s.dependents);
        let mut dependents = dependents.into_iter().flatten();
        dependents.find(|d| !self.is_clear(**d)).copied()
    }

    /// Whether undoing may begin, as far as the point of no return is concerned.
    pub(in crate::saga) fn may_begin_undo(&self) -> Result<(), Illegal> {
        let stage = match self.status {
            Status::Working(stage) | Status::Parked { stage, .. } => stage,
            Status::Completed | Status::Undone => {
                return Err(self.wrong_status("undo"));
            }
        };
        match stage {
            Stage::Forward => {}
            Stage::Confirm => return Err(Illegal::Confirming),
            Stage::Undo => return Err(self.wrong_status("undo")),
        }
        let Some(at) = self.definition.pivot() else {
            return Ok(());
        };
        let pivot = self.step_name(at);
        match self.state(at) {
            StepState::Waiting | StepState::Failed { .. } | StepState::Abandoned => Ok(()),
            StepState::Calling(_) | StepState::Stuck { .. } => {
                Err(Illegal::PivotUnsettled { pivot })
            }
            StepState::Succeeded | StepState::Undone | StepState::Confirmed => {
                Err(Illegal::NoReturn { pivot })
            }
        }
    }

    /// When the outcome of an action stays unknown it is given up and everything is undone;
    /// where that is not possible it waits for a person.
    pub(in crate::saga) fn may_abandon(&self, step: StepIndex) -> bool {
        let Some(defined) = self.definition.step(step) else {
            return false;
        };
        let pivot = self.definition.pivot() == Some(step);
        !defined.after_pivot && (!pivot || defined.undo.is_some())
    }

    /// A step because of which everything is to be undone.
    pub(in crate::saga) fn failed(&self) -> Option<StepIndex> {
        self.indices().find(|step| {
            let state = self.state(*step);
            matches!(state, StepState::Failed { .. } | StepState::Abandoned)
        })
    }

    /// A step that is not in this state.
    pub(in crate::saga) fn unless_all(&self, state: StepState) -> Option<StepIndex> {
        self.indices().find(|step| self.state(*step) != state)
    }

    /// The state of all steps when a saga is completed.
    pub(in crate::saga) fn goal(&self) -> StepState {
        match self.definition.mode() {
            Mode::Saga => StepState::Succeeded,
            Mode::Tcc => StepState::Confirmed,
        }
    }

    pub(super) fn wrong_status(&self, event: &'static str) -> Illegal {
        let status = self.status;
        Illegal::Status { event, status }
    }

    pub(in crate::saga) fn step_name(&self, step: StepIndex) -> String {
        let step = self.definition.step(step);
        step.map_or_else(String::new, |step| step.name.clone())
    }
}
