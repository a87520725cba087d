use crate::Refusal;

/// Why a call about sagas has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition does not validate; the message names the step and the field.
    #[error("the definition is refused: {0}")]
    DefinitionInvalid(Refusal),
    /// Nobody has defined it, or not in this version.
    #[error(transparent)]
    DefinitionNotFound(Refusal),
    /// The id was used for a saga with another definition, input or time.
    #[error(transparent)]
    Conflict(Refusal),
    /// There is no such saga, or it ended long ago.
    #[error(transparent)]
    NotFound(Refusal),
    /// The saga has no such step.
    #[error(transparent)]
    StepNotFound(Refusal),
    /// The step that is reported on is not being called for this phase.
    #[error(transparent)]
    StepNotCalled(Refusal),
    /// What a person wants cannot be done as the saga is now.
    #[error(transparent)]
    NotPossible(Refusal),
    /// There are as many of something as there may be; the message names the limit. Nothing was
    /// done, and the same may work later.
    #[error(transparent)]
    TooMany(Refusal),
    /// The sidecar could not be reached, or could not reach its log, for as long as the call
    /// was repeated. It may have happened or not.
    #[error("nobody knows whether it has happened: {0}")]
    Unavailable(Refusal),
    /// It is refused for another reason.
    #[error(transparent)]
    Refused(Refusal),
    /// An input cannot be written as JSON, or an output cannot be read from it.
    #[error("the {what} of saga {saga_id:?}: {source}")]
    Json {
        /// `input` or `output`.
        what: &'static str,
        /// The saga.
        saga_id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    /// What the sidecar said, unless it was not asked.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::DefinitionInvalid(refusal)
            | Self::DefinitionNotFound(refusal)
            | Self::Conflict(refusal)
            | Self::NotFound(refusal)
            | Self::StepNotFound(refusal)
            | Self::StepNotCalled(refusal)
            | Self::NotPossible(refusal)
            | Self::TooMany(refusal)
            | Self::Unavailable(refusal)
            | Self::Refused(refusal) => Some(refusal),
            Self::Json { .. } => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.reason.as_str() {
            "SAGA_DEFINITION_INVALID" => Self::DefinitionInvalid(refusal),
            "SAGA_DEFINITION_NOT_FOUND" => Self::DefinitionNotFound(refusal),
            "SAGA_CONFLICT" => Self::Conflict(refusal),
            "SAGA_NOT_FOUND" => Self::NotFound(refusal),
            "SAGA_STEP_NOT_FOUND" => Self::StepNotFound(refusal),
            "SAGA_STEP_NOT_CALLED" => Self::StepNotCalled(refusal),
            "SAGA_ACT_NOT_POSSIBLE" => Self::NotPossible(refusal),
            _ if is_unavailable(&refusal) => Self::Unavailable(refusal),
            _ if refusal.code == tonic::Code::ResourceExhausted => Self::TooMany(refusal),
            _ => Self::Refused(refusal),
        }
    }
}

/// Whether nobody can tell what became of a call, so that one that changes nothing the second
/// time is to be repeated.
pub(super) fn is_unavailable(refusal: &Refusal) -> bool {
    match refusal.code {
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => true,
        // What a connection that breaks is told as; Outrigger itself gives a reason.
        tonic::Code::Unknown | tonic::Code::Internal => refusal.reason.is_empty(),
        _ => false,
    }
}
