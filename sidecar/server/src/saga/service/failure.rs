//! Why something is refused, in the words of the protocol.

use tonic::Code;

use crate::{
    edge::status::Failure,
    saga::{
        executor::Failed,
        store::{Refused, Why},
    },
};

pub(super) fn no_saga(saga: &str) -> Failure {
    let message = format!("there is no saga {saga:?}");
    let failure = Failure::new(Code::NotFound, "SAGA_NOT_FOUND", message);
    failure.with("field", "saga_id").with("value", saga)
}

pub(super) fn no_step(saga: &str, step: &str) -> Failure {
    let message = format!("saga {saga:?} has no step {step:?}");
    let failure = Failure::new(Code::NotFound, "SAGA_STEP_NOT_FOUND", message);
    failure.with("field", "step").with("value", step)
}

pub(super) fn no_definition(name: &str, version: &str) -> Failure {
    let message = match version {
        "" => format!("there is no saga definition {name:?}"),
        version => format!("there is no saga definition {name:?} with version {version}"),
    };
    let failure = Failure::new(Code::NotFound, "SAGA_DEFINITION_NOT_FOUND", message);
    failure.with("field", "definition").with("value", name)
}

/// Where neither an act nor a report is wrong, the definition is.
pub(super) fn definition(message: String) -> Failure {
    Failure::new(Code::InvalidArgument, "SAGA_DEFINITION_INVALID", message)
        .with("field", "definition")
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (code, reason) = match refused.why {
            Why::DefinitionInvalid => (Code::InvalidArgument, "SAGA_DEFINITION_INVALID"),
            Why::DefinitionNotFound => (Code::NotFound, "SAGA_DEFINITION_NOT_FOUND"),
            Why::TooManyDefinitions => (Code::ResourceExhausted, "TOO_MANY_SAGA_DEFINITIONS"),
            Why::StartInvalid => (Code::InvalidArgument, "SAGA_START_INVALID"),
            Why::Conflict => (Code::AlreadyExists, "SAGA_CONFLICT"),
            Why::TooManySagas => (Code::ResourceExhausted, "TOO_MANY_SAGAS"),
            Why::SagaNotFound => (Code::NotFound, "SAGA_NOT_FOUND"),
            Why::StepNotFound => (Code::NotFound, "SAGA_STEP_NOT_FOUND"),
            Why::Illegal => (Code::FailedPrecondition, "SAGA_ACT_NOT_POSSIBLE"),
            Why::TooManyEvents => (Code::ResourceExhausted, "TOO_MANY_SAGA_EVENTS"),
            Why::TooManyActs => (Code::ResourceExhausted, "TOO_MANY_SAGA_ACTS"),
            Why::NotCalled => (Code::FailedPrecondition, "SAGA_STEP_NOT_CALLED"),
            // Nothing that an application can ask for.
            Why::NotOwner | Why::Stale | Why::Invalid => (Code::Internal, "UNEXPECTED_OUTCOME"),
        };
        Self::new(code, reason, refused.message)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refused) => refused.into(),
            Failed::Unavailable(unavailable) => {
                let message = unavailable.to_string();
                Self::new(Code::Unavailable, "OUTCOME_UNKNOWN", message)
            }
        }
    }
}
