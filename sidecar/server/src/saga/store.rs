//! Where sagas are kept, as those see it who carry them out.

use std::sync::Arc;

use futures::future::BoxFuture;
use outrigger_core::{
    placement::Placement,
    saga::{
        Definition,
        definition::Version,
        ledger::{Answer, Command, Refusal, View},
    },
};

/// The sagas of all data groups.
pub trait Store: Send + Sync + 'static {
    /// Which data group has which saga. Definitions are in all of them.
    fn placement(&self) -> Placement;

    /// Carries commands out in one data group, in their order, and answers each when it is
    /// durable.
    ///
    /// When that fails nobody knows which of them were carried out, or will be: one may still be
    /// on its way. The epoch and the place of events make that harmless.
    fn submit(
        &self,
        group: u32,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Result<Answer, Refused>>, Unavailable>>;

    /// One saga, with everything that was answered before this was called.
    fn read(&self, saga: &str) -> BoxFuture<'static, Result<Option<View>, Unavailable>>;

    /// One definition; the latest one unless a version is given.
    fn definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> BoxFuture<'static, Result<Option<Arc<Definition>>, Unavailable>>;
}

/// The log cannot be reached now, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sagas cannot be reached: {reason}")]
pub struct Unavailable {
    /// What happened.
    pub reason: String,
}

/// A command was refused, and has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, for programs.
    pub why: Why,
    /// Why, for people: it names what, its value and its limit.
    pub message: String,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The definition does not validate.
    DefinitionInvalid,
    /// There is no such definition, or not in this version.
    DefinitionNotFound,
    /// There are too many definitions.
    TooManyDefinitions,
    /// The id, the input or the times of a start are not allowed.
    StartInvalid,
    /// The id was used with something else.
    Conflict,
    /// Too many sagas have not ended.
    TooManySagas,
    /// There is no such saga.
    SagaNotFound,
    /// The saga has no such step.
    StepNotFound,
    /// Somebody else owns it.
    NotOwner,
    /// Others have recorded events before.
    Stale,
    /// It may not happen as the saga is now.
    Illegal,
    /// It has recorded as many events as it may.
    TooManyEvents,
    /// Its owner has to see what was done by hand first.
    TooManyActs,
    /// The call that is reported on is not under way.
    NotCalled,
    /// The command makes no sense.
    Invalid,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let why = match &refusal {
            Refusal::Load(_) | Refusal::Definition(_) => Why::DefinitionInvalid,
            Refusal::TooManyDefinitions { .. } => Why::TooManyDefinitions,
            Refusal::UnknownDefinition { .. } => Why::DefinitionNotFound,
            Refusal::Id(_) | Refusal::Start(_) => Why::StartInvalid,
            Refusal::Conflict { .. } => Why::Conflict,
            Refusal::TooManySagas { .. } => Why::TooManySagas,
            Refusal::UnknownSaga { .. } => Why::SagaNotFound,
            Refusal::UnknownStep { .. } => Why::StepNotFound,
            Refusal::Owner(_) => Why::NotOwner,
            Refusal::Stale { .. } => Why::Stale,
            Refusal::Illegal(_) | Refusal::NotWanted { .. } => Why::Illegal,
            Refusal::TooManyEvents { .. } => Why::TooManyEvents,
            Refusal::TooManyActs { .. } | Refusal::ActsTooLarge { .. } => Why::TooManyActs,
            Refusal::NotCalled { .. } => Why::NotCalled,
            Refusal::NoEvents | Refusal::TooManyOwners { .. } => Why::Invalid,
        };
        Self {
            why,
            message: refusal.to_string(),
        }
    }
}
