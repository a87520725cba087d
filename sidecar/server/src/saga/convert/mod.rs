//! Definitions of sagas between the protocol and the core.

mod from_proto;
#[cfg(test)]
mod tests;
mod to_proto;

pub use from_proto::definition;
pub use to_proto::to_proto;

use outrigger_core::saga::{
    definition::{self, NotAVersion, Version},
    mapping,
};

/// Finds the latest version of a definition by its name.
pub type Latest<'a> = dyn Fn(&str) -> Option<Version> + 'a;

/// Why a definition is refused. A fault of a step names the step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The core refuses it.
    #[error(transparent)]
    Definition(#[from] definition::Error),
    /// The mode is none.
    #[error("mode is {value}, which this sidecar does not know")]
    Mode {
        /// Its number.
        value: i32,
    },
    /// A step has no action, or a call nobody whom it calls.
    #[error("step {step:?}: {field} is missing")]
    Missing {
        /// The step.
        step: String,
        /// Which field.
        field: String,
    },
    /// A class of errors is none.
    #[error("step {step:?}: {field}.retry: class {value} is not one that this sidecar knows")]
    Class {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// Its number.
        value: i32,
    },
    /// A class of errors has two policies.
    #[error("step {step:?}: {field}.retry: {class} is there twice")]
    DuplicateClass {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// The class.
        class: &'static str,
    },
    /// A mapping is none.
    #[error("step {step:?}: {field}.input {fault}")]
    Input {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// What is wrong.
        fault: mapping::Error,
    },
    /// The mapping of the output is none.
    #[error("output {fault}")]
    Output {
        /// What is wrong.
        fault: mapping::Error,
    },
    /// The version of a saga in a saga is none.
    #[error("step {step:?}: {field}.saga: {fault}")]
    Version {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// What is wrong.
        fault: NotAVersion,
    },
    /// A saga in a saga does not exist.
    #[error("step {step:?}: {field}.saga: there is no definition {definition:?}")]
    NoDefinition {
        /// The step.
        step: String,
        /// Which call.
        field: &'static str,
        /// The definition that it names.
        definition: String,
    },
    /// A delivery goes nowhere.
    #[error("deliveries: one is neither a webhook nor a message")]
    Delivery,
}
