use crate::saga::mapping;

/// Why a definition is refused. A fault of a step names the step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The definition's name is not allowed.
    #[error(transparent)]
    Name(#[from] crate::name::Error),
    /// It has no steps, or too many.
    #[error("steps: {count} steps, 1 to {limit} are allowed")]
    StepsCount {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The encoded definition is too large.
    #[error("the definition has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
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
    /// The mapping of the saga's output is wrong.
    #[error("output {fault}")]
    Output {
        /// What is wrong.
        fault: mapping::Error,
    },
    /// The mapping of the saga's output refers to a step that does not exist.
    #[error("output refers to the step {step:?}, which does not exist")]
    OutputStep {
        /// The step referred to.
        step: String,
    },
    /// A place of delivery is wrong.
    #[error("deliveries: {fault}")]
    Delivery {
        /// What is wrong.
        fault: TargetFault,
    },
    /// Two steps have one name.
    #[error("step {step:?}: name: another step has the same name")]
    DuplicateName {
        /// The name.
        step: String,
    },
    /// A step's name is not allowed.
    #[error("step {step:?}: {fault}")]
    StepName {
        /// The name.
        step: String,
        /// What is wrong.
        fault: crate::name::Error,
    },
    /// A step depends on a step that does not exist.
    #[error("step {step:?}: depends_on: there is no step {dependency:?}")]
    UnknownDependency {
        /// The step.
        step: String,
        /// What it depends on.
        dependency: String,
    },
    /// A step names a dependency twice.
    #[error("step {step:?}: depends_on: {dependency:?} is there twice")]
    DuplicateDependency {
        /// The step.
        step: String,
        /// What it depends on.
        dependency: String,
    },
    /// Steps wait for each other.
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
    /// A number of a step is outside its range.
    #[error("step {step:?}: {field} is {value}, {least} to {most} is allowed")]
    StepRange {
        /// The step.
        step: String,
        /// Which.
        field: String,
        /// What it is.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// Whom a step calls is wrong.
    #[error("step {step:?}: {field}: {fault}")]
    Target {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// What is wrong.
        fault: TargetFault,
    },
    /// A mapping of a step refers to a step that is not surely done by then.
    #[error(
        "step {step:?}: {field}.input refers to the output of {referred:?}, which is not surely there; the step must depend on it"
    )]
    NotBefore {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// The step referred to.
        referred: String,
    },
    /// An undo refers to its action's output, which may never have come.
    #[error(
        "step {step:?}: {field}.input refers to the output of its own action without a default; an action whose outcome is unknown is undone too"
    )]
    OwnOutput {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
    },
    /// A saga as a step does not exist.
    #[error("step {step:?}: action: there is no definition {definition:?} with version {version}")]
    UnknownSubSaga {
        /// The step.
        step: String,
        /// The definition that it names.
        definition: String,
        /// Its version.
        version: super::Version,
    },
    /// A saga as a step cannot be undone when it is completed.
    #[error(
        "step {step:?}: action: {definition:?} cannot be undone once it is completed, because it has a pivot or is TCC; say that there is nothing to undo, or make the step the pivot, or put it after the pivot"
    )]
    SubSagaNotUndoable {
        /// The step.
        step: String,
        /// The definition that it names.
        definition: String,
    },
    /// Sagas in sagas are nested too deeply.
    #[error("step {step:?}: action: sagas are nested more than {limit} deep")]
    SubSagaDepth {
        /// The step.
        step: String,
        /// How deep they may be.
        limit: usize,
    },
}

/// What is wrong with an address or a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// Not an address.
    #[error("{url:?} is not an address; `http://` or `https://` and a host are needed")]
    Url {
        /// What stands there.
        url: String,
    },
    /// Too long.
    #[error("{field} has {characters} characters, at most {limit} are allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        characters: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A name is not allowed.
    #[error(transparent)]
    Name(#[from] crate::name::Error),
    /// Too many places.
    #[error("{count} places, at most {limit} are allowed")]
    Count {
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}
