//! What a saga is made of: steps that depend on each other, each with an action and a way
//! back.

mod codec;
mod draft;
mod error;
mod retry;
mod sub_sagas;
#[cfg(test)]
mod tests;
mod validate;
mod version;

use bytes::Bytes;

pub use codec::LoadError;
pub use draft::{Action, Delivery, Draft, DraftStep, Mode, Target, Undo};
pub use error::{Error, TargetFault};
pub use retry::{Attempts, Retry, RetryPolicy};
pub use version::{NotAVersion, Version};

use super::{Phase, StepIndex, mapping::Mapping};

/// A checked definition. Its steps are in an order of their own: every step comes after
/// those that it depends on, and the order follows from the content alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    name: String,
    version: Version,
    encoded: Bytes,
    mode: Mode,
    steps: Vec<Step>,
    pivot: Option<StepIndex>,
    deadline_ms: Option<u64>,
    output: Option<Mapping>,
    deliveries: Vec<Delivery>,
    payload_bytes_max: u32,
}

/// One step of a [`Definition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The steps that must have succeeded before.
    pub depends_on: Vec<StepIndex>,
    /// The steps that depend on it.
    pub dependents: Vec<StepIndex>,
    /// The action; in TCC the try.
    pub action: Action,
    /// The undo, or the cancel; nothing when there is nothing to undo.
    pub undo: Option<Action>,
    /// The confirm.
    pub confirm: Option<Action>,
    /// It comes after the pivot.
    pub after_pivot: bool,
}

impl Definition {
    /// Checks a draft.
    ///
    /// # Errors
    /// The first fault found; it names the step and the field.
    pub fn new(draft: Draft) -> Result<Self, Error> {
        validate::check(draft)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of its content.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What its steps are made of.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its steps, each after those that it depends on.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// One step.
    #[must_use]
    pub fn step(&self, step: StepIndex) -> Option<&Step> {
        self.steps.get(usize::from(step))
    }

    /// The place of a step, by its name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<StepIndex> {
        let found = self.steps.iter().position(|step| step.name == name);
        found.and_then(|at| StepIndex::try_from(at).ok())
    }

    /// The point of no return.
    #[must_use]
    pub fn pivot(&self) -> Option<StepIndex> {
        self.pivot
    }

    /// How long the whole may take.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// What a completed saga gives back; nothing means every output under its step's name.
    #[must_use]
    pub fn output(&self) -> Option<&Mapping> {
        self.output.as_ref()
    }

    /// Where the result is delivered.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// The largest input of the saga, input of a step, and output of a step.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max as usize
    }

    /// Whom a step calls in a phase; nothing when there is nothing to call.
    #[must_use]
    pub fn action(&self, step: StepIndex, phase: Phase) -> Option<&Action> {
        let step = self.step(step)?;
        match phase {
            Phase::Action => Some(&step.action),
            Phase::Undo => step.undo.as_ref(),
            Phase::Confirm => step.confirm.as_ref(),
        }
    }

    /// Whether a saga that is completed can still be undone, as part of a larger one.
    #[must_use]
    pub fn is_undoable_when_completed(&self) -> bool {
        self.mode == Mode::Saga && self.pivot.is_none()
    }

    /// The canonical binary form. Equal content has equal bytes.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}
