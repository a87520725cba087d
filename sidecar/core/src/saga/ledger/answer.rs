use super::OwnerId;
use crate::{
    name,
    saga::{
        definition::{self, LoadError, Version},
        owner,
        record::{Illegal, StartError},
    },
};

/// What becomes of a [`Command`](super::Command).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The definition is kept.
    Defined {
        /// Its version.
        version: Version,
        /// False: it was there already.
        created: bool,
    },
    /// The saga is there.
    Started {
        /// The epoch with which the owner that the command names owns it; 0: it does not, or
        /// the command names none.
        epoch: u64,
        /// False: it was there already.
        created: bool,
    },
    /// The events are recorded.
    Appended {
        /// How many are recorded now.
        sequence: u64,
    },
    /// It is done. Also what a [`Report`](super::Command::Report) is answered with, whether
    /// or not it was news.
    Acted {
        /// How many events are recorded now; 0: the saga was never started, and never will be.
        sequence: u64,
        /// Who has to hear of it, if anybody.
        owner: Option<OwnerId>,
    },
    /// The owner counts as alive.
    Owned {
        /// Until when, in milliseconds since the Unix epoch by the log's clock.
        until_ms: u64,
        /// What it has taken over and not heard of yet; also what it has started itself and
        /// recorded nothing of.
        taken: Vec<Held>,
        /// Sagas of this owner of whose latest events by others it has not heard yet.
        acted_on: Vec<String>,
        /// There are further sagas that nobody alive owns, or more to tell: asking again at
        /// once is worth while.
        more: bool,
        /// The number of the last thing that it is told of here, for
        /// [`heard`](super::Command::Own).
        told: u64,
    },
    /// Nothing has changed.
    Refused(Refusal),
}

/// A saga and the epoch it is owned with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub saga: String,
    /// The epoch.
    pub epoch: u64,
}

/// Why nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no definition that this program takes.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not fit the sagas that are its steps.
    #[error(transparent)]
    Definition(#[from] definition::Error),
    /// There are too many definitions.
    #[error("more than {limit} versions of definitions are kept")]
    TooManyDefinitions {
        /// The most that there can be.
        limit: u64,
    },
    /// Nobody has defined it.
    #[error("there is no saga definition {name:?} with version {version}")]
    UnknownDefinition {
        /// Its name.
        name: String,
        /// Its version.
        version: Version,
    },
    /// The id is not allowed.
    #[error(transparent)]
    Id(#[from] name::Error),
    /// The start does not fit the definition.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The id was used before, with another definition, input or time.
    #[error("saga {saga:?} was started with another definition, input or time")]
    Conflict {
        /// The id.
        saga: String,
    },
    /// No saga waits for this one as its step.
    #[error("step {step:?} of saga {parent:?} is not being called for saga {saga:?}")]
    NotWanted {
        /// The id.
        saga: String,
        /// The saga that it would be a step of.
        parent: String,
        /// The step.
        step: String,
    },
    /// Too many sagas have not ended.
    #[error("more than {limit} sagas have not ended")]
    TooManySagas {
        /// The most that there can be.
        limit: u64,
    },
    /// There is no such saga, or it ended long ago.
    #[error("there is no saga {saga:?}")]
    UnknownSaga {
        /// The id.
        saga: String,
    },
    /// Its definition has no such step.
    #[error("saga {saga:?} has no step {step:?}")]
    UnknownStep {
        /// The id.
        saga: String,
        /// The step.
        step: String,
    },
    /// Somebody else owns it.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// Others have recorded events before these.
    #[error("{recorded} events are recorded, not {after}")]
    Stale {
        /// How many the caller knows.
        after: u64,
        /// How many there are.
        recorded: u64,
    },
    /// It may not happen as the saga is now.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// A saga can record only so many events.
    #[error("saga {saga:?} has recorded {limit} events, the most that one may have")]
    TooManyEvents {
        /// The id.
        saga: String,
        /// The most that there can be.
        limit: u64,
    },
    /// People did so much that its owner has not seen yet.
    #[error("the owner of saga {saga:?} has not seen {limit} acts yet")]
    TooManyActs {
        /// The id.
        saga: String,
        /// The most that may wait.
        limit: usize,
    },
    /// What people did and the owner has not seen yet is too large.
    #[error("the owner of saga {saga:?} has not seen acts with {limit} bytes yet")]
    ActsTooLarge {
        /// The id.
        saga: String,
        /// The most bytes that may wait.
        limit: usize,
    },
    /// Too many owners are alive, or were and still own something.
    #[error("more than {limit} owners of sagas")]
    TooManyOwners {
        /// The most that there can be.
        limit: usize,
    },
    /// Nothing is given to be recorded.
    #[error("events is empty")]
    NoEvents,
    /// Nobody waits for this end.
    #[error("step {step:?} of saga {saga:?} is not being called for {phase:?}")]
    NotCalled {
        /// The id.
        saga: String,
        /// The step.
        step: String,
        /// The phase.
        phase: crate::saga::Phase,
    },
}
