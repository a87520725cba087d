/// Why a definition is refused before anybody is asked. The sidecar has the same words for
/// the same faults, and checks more: the mappings of inputs, the size of the whole, and sagas
/// in sagas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// The name of the definition is not allowed.
    #[error("{fault}")]
    Name {
        /// What is wrong.
        fault: String,
    },
    /// It has no steps, or too many.
    #[error("steps: {count} steps, 1 to {limit} are allowed")]
    StepsCount {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A number of the whole is outside its range.
    #[error("{field} is {value}, {least} to {most} is allowed")]
    Range {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// A step's name is not allowed.
    #[error("step {step:?}: {fault}")]
    StepName {
        /// The name.
        step: String,
        /// What is wrong.
        fault: String,
    },
    /// Two steps have one name.
    #[error("step {step:?}: name: another step has the same name")]
    DuplicateName {
        /// The name.
        step: String,
    },
    /// A step depends on a step of another definition.
    #[error("step {step:?}: depends_on: there is no step {dependency:?}")]
    UnknownDependency {
        /// The step.
        step: String,
        /// What it depends on.
        dependency: String,
    },
    /// A step depends on one that was added later.
    #[error("step {:?}: depends_on: the steps wait for each other: {}", path.first().map_or("", |s| s), path.join(" -> "))]
    Cycle {
        /// From a step over its dependencies back to itself.
        path: Vec<String>,
    },
    /// Nobody said how a step is undone.
    #[error(
        "step {step:?}: undo is missing; say how the step is undone, or that there is nothing to undo"
    )]
    MissingUndo {
        /// The step.
        step: String,
    },
    /// A step after the pivot is never undone.
    #[error("step {step:?}: undo can never run, because the step comes after the pivot {pivot:?}")]
    UndoAfterPivot {
        /// The step.
        step: String,
        /// The pivot.
        pivot: String,
    },
    /// There is more than one pivot.
    #[error(
        "step {step:?}: pivot: {pivot:?} is the pivot already, and there can be only one point of no return"
    )]
    SecondPivot {
        /// The step.
        step: String,
        /// The other pivot.
        pivot: String,
    },
    /// A step is neither before nor after the pivot.
    #[error(
        "step {step:?}: depends_on: the step runs beside the pivot {pivot:?}; it must come before it or after it, or it could fail when nothing can be undone any more"
    )]
    BesidePivot {
        /// The step.
        step: String,
        /// The pivot.
        pivot: String,
    },
    /// TCC has its own point of no return.
    #[error(
        "step {step:?}: pivot: TCC has no pivot, its point of no return is when all steps are tried"
    )]
    PivotInTcc {
        /// The step.
        step: String,
    },
    /// Every step of TCC is confirmed.
    #[error("step {step:?}: confirm is missing; every step of TCC has one")]
    MissingConfirm {
        /// The step.
        step: String,
    },
    /// Only TCC confirms.
    #[error("step {step:?}: confirm is for TCC only")]
    ConfirmInSaga {
        /// The step.
        step: String,
    },
    /// A sub-saga cannot be tried and confirmed.
    #[error(
        "step {step:?}: {field}: a saga cannot be a step of TCC, nor undo a step that is no saga"
    )]
    SubSaga {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
    },
    /// How long a call may take is outside its range.
    #[error("step {step:?}: {field}.timeout_ms is {value}, {least} to {most} is allowed")]
    Timeout {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
}
