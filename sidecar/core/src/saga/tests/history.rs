//! What a person would say who has the whole history of a saga before them.

use crate::saga::{
    Definition, Phase, StepIndex,
    event::{Act, Event},
};

pub(super) struct History<'a> {
    pub(super) definition: &'a Definition,
    pub(super) events: &'a [Event],
}

impl History<'_> {
    fn any(&self, mut is: impl FnMut(&Event) -> bool) -> bool {
        self.events.iter().any(&mut is)
    }

    pub(super) fn announced(&self, step: StepIndex, phase: Phase) -> bool {
        self.any(
            |e| matches!(e, Event::Started { step: s, phase: p, .. } if (*s, *p) == (step, phase)),
        )
    }

    pub(super) fn succeeded(&self, step: StepIndex, phase: Phase) -> bool {
        self.any(|e| matches!(e, Event::Succeeded { step: s, phase: p, .. } if (*s, *p) == (step, phase)))
    }

    pub(super) fn skipped(&self, step: StepIndex, phase: Phase) -> bool {
        self.any(|e| {
            matches!(e, Event::ByHand { act: Act::Skip { step: s, phase: p, .. }, .. }
                if (*s, *p) == (step, phase))
        })
    }

    fn settled(&self, step: StepIndex) -> bool {
        self.succeeded(step, Phase::Action)
            || self.skipped(step, Phase::Action)
            || self.any(|e| {
                matches!(e, Event::Failed { step: s, .. } | Event::Abandoned { step: s, .. }
                    if *s == step)
            })
    }

    /// Its only call was refused.
    fn refused(&self, step: StepIndex) -> bool {
        self.any(|e| matches!(e, Event::Failed { step: s, only_call: true, .. } if *s == step))
    }

    /// Nothing can be left of it.
    pub(super) fn is_gone(&self, step: StepIndex) -> bool {
        !self.announced(step, Phase::Action)
            || self.refused(step)
            || self.succeeded(step, Phase::Undo)
            || self.skipped(step, Phase::Undo)
            || self.definition.action(step, Phase::Undo).is_none()
    }

    fn all_after(&self, step: StepIndex) -> Vec<StepIndex> {
        let mut found = Vec::new();
        let mut next = vec![step];
        while let Some(step) = next.pop() {
            for dependent in &self.definition.step(step).unwrap().dependents {
                if !found.contains(dependent) {
                    found.push(*dependent);
                    next.push(*dependent);
                }
            }
        }
        found
    }

    /// Why an undo must not be sent now.
    pub(super) fn objects_to_undo(&self, step: StepIndex) -> Option<String> {
        if !self.settled(step) {
            return Some(format!("the action of {step} is not settled"));
        }
        let left = self.all_after(step).into_iter().find(|d| !self.is_gone(*d));
        if let Some(dependent) = left {
            return Some(format!(
                "{dependent}, which depends on {step}, is not undone"
            ));
        }
        let pivot = self.definition.pivot();
        let passed = pivot
            .is_some_and(|p| self.succeeded(p, Phase::Action) || self.skipped(p, Phase::Action));
        let confirms = self.any(|e| *e == Event::ConfirmBegun);
        (passed || confirms).then(|| "the point of no return is passed".to_owned())
    }
}
