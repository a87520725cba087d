use super::{Status, StepState};
use crate::saga::{Phase, definition::Version};

/// Why an event may not follow. A refusal changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The definition has no such step.
    #[error("the saga has no step {step}, only {steps}")]
    UnknownStep {
        /// The place of the step.
        step: u16,
        /// How many steps there are.
        steps: usize,
    },
    /// The saga is not so far, or farther.
    #[error("{event} is not possible while the saga is {status:?}")]
    Status {
        /// The event.
        event: &'static str,
        /// How far the saga is.
        status: Status,
    },
    /// The step is not so far, or farther.
    #[error("{event} is not possible while step {step:?} is {state:?}")]
    Step {
        /// The event.
        event: &'static str,
        /// The step.
        step: String,
        /// How far the step is.
        state: StepState,
    },
    /// Attempts are numbered without gaps.
    #[error("step {step:?}: attempt {attempt} of {phase:?}, but {expected} is the next")]
    Attempt {
        /// The step.
        step: String,
        /// What it is called for.
        phase: Phase,
        /// The attempt.
        attempt: u32,
        /// The next one.
        expected: u32,
    },
    /// A step it depends on has not succeeded.
    #[error("step {step:?} cannot begin before step {dependency:?} has succeeded")]
    Dependency {
        /// The step.
        step: String,
        /// The step that it waits for.
        dependency: String,
    },
    /// A step that depends on it is not undone.
    #[error("step {step:?} cannot be undone before step {dependent:?} is undone")]
    Dependent {
        /// The step.
        step: String,
        /// The step that has to be undone first.
        dependent: String,
    },
    /// There is nothing to call.
    #[error("step {step:?} has nothing to call for {phase:?}")]
    NothingToCall {
        /// The step.
        step: String,
        /// What it would be called for.
        phase: Phase,
    },
    /// The saga has passed its point of no return.
    #[error("the saga has passed its point of no return, step {pivot:?}; it can only go on")]
    NoReturn {
        /// The pivot.
        pivot: String,
    },
    /// Nobody knows whether the saga has passed its point of no return.
    #[error(
        "the outcome of step {pivot:?}, the point of no return, is not known; retry it, or skip it if it was done by hand"
    )]
    PivotUnsettled {
        /// The pivot.
        pivot: String,
    },
    /// TCC has begun to confirm.
    #[error("the saga confirms already; it can only go on")]
    Confirming,
    /// A step has failed, so that everything is to be undone.
    #[error("{event} is not possible because step {step:?} has failed; everything is to be undone")]
    HasFailed {
        /// The event.
        event: &'static str,
        /// The step.
        step: String,
    },
    /// Not all steps are where they have to be.
    #[error("{event} is not possible yet: step {step:?} is {state:?}")]
    NotYet {
        /// The event.
        event: &'static str,
        /// A step that is in the way.
        step: String,
        /// How far the step is.
        state: StepState,
    },
    /// No step is stuck.
    #[error("no step is stuck")]
    NothingStuck,
    /// The cause of an undo is not so.
    #[error("the saga has no reason to be undone: {cause}")]
    Cause {
        /// What was said.
        cause: &'static str,
    },
    /// A refused call was not the only one.
    #[error("step {step:?}: attempt {attempt} cannot be the only call")]
    NotOnlyCall {
        /// The step.
        step: String,
        /// The attempt.
        attempt: u32,
    },
    /// Only the saga that this one is a step of may undo it when it is completed.
    #[error(
        "a completed saga is undone only as a step of another one, by that one, and only without a pivot"
    )]
    Completed,
    /// A payload is too large.
    #[error("{what} of step {step:?} has {bytes} bytes, at most {limit} are allowed")]
    PayloadTooLarge {
        /// Input or output.
        what: &'static str,
        /// The step.
        step: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// All payloads together are too large.
    #[error("the payloads of the saga would have {bytes} bytes, at most {limit} are allowed")]
    PayloadsTooLarge {
        /// How large they would be.
        bytes: usize,
        /// How large they may be.
        limit: usize,
    },
    /// A text is missing.
    #[error("{field} is empty")]
    Empty {
        /// Which.
        field: &'static str,
    },
    /// A text is too long.
    #[error("{field} has {characters} characters, at most {limit} are allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        characters: usize,
        /// How long it may be.
        limit: usize,
    },
    /// There is no result to deliver, or it is settled.
    #[error("there is no result to deliver")]
    NoResult,
}

/// Why a saga cannot be started so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its id is not allowed.
    #[error("saga has an id of {bytes} bytes, 1 to {limit} are allowed")]
    Id {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It names another definition.
    #[error("the saga is of {definition:?} version {version}, not of this definition")]
    Definition {
        /// The name that it has.
        definition: String,
        /// The version that it has.
        version: Version,
    },
    /// Its input is too large.
    #[error("input has {bytes} bytes, at most {limit} are allowed")]
    InputTooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// It would end before it begins.
    #[error("deadline_at_ms is {deadline_at_ms}, which is not after the start at {start_at_ms}")]
    Deadline {
        /// The deadline.
        deadline_at_ms: u64,
        /// The start.
        start_at_ms: u64,
    },
}
