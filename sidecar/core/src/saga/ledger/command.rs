use bytes::Bytes;

use crate::saga::{
    Phase,
    event::{Act, Event, Note, Start},
};

/// One run of a process that carries out sagas: a random number, so that a process that comes
/// back is somebody else.
pub type OwnerId = u128;

/// One durable change to the sagas of a data group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Keeps a definition under its name and version. The same one again changes nothing, but
    /// makes it the latest of its name.
    Define {
        /// [`Definition::encoded`](crate::saga::Definition::encoded).
        encoded: Bytes,
    },
    /// Starts a saga. The same start again changes nothing.
    ///
    /// A saga that is a step of another one is started only while that step is being called
    /// for its action: a start that comes later than the undo of the step is refused.
    Start {
        /// What is recorded first about it. Its definition must be there. `start_at_ms` is 0
        /// for at once: the log's time is taken then. Without a deadline it has that of its
        /// definition, from the start on. A repetition may leave out either.
        start: Start,
        /// Who carries it out from the beginning, with epoch 1, if it counts as alive;
        /// otherwise, or without one: the first that asks.
        owner: Option<OwnerId>,
    },
    /// Records events of a saga, all or none.
    Append {
        /// Which saga.
        saga: String,
        /// The caller's epoch; it must be the recorded one.
        epoch: u64,
        /// How many events are recorded before them.
        after: u64,
        /// At least one.
        events: Vec<Event>,
    },
    /// A person, or the saga that this one is a step of, does something.
    ///
    /// A saga may have to undo a step whose saga was never started. While the step is being
    /// called for its undo, that is answered with [`Answer::Acted`](super::Answer::Acted) and
    /// `sequence` 0: there is no such saga, and there never will be.
    Act {
        /// Which saga.
        saga: String,
        /// What.
        act: Act,
        /// Who, and why.
        note: Note,
    },
    /// Somebody says how a call has ended whose answer does not come back on the call itself,
    /// such as that of a message. Only the call that is under way has an end that counts; the
    /// same end again changes nothing.
    Report {
        /// Which saga.
        saga: String,
        /// Which step.
        step: String,
        /// What it was called for.
        phase: Phase,
        /// How it ended.
        outcome: Reported,
    },
    /// An owner says that it is alive, and takes sagas over that nobody alive owns.
    ///
    /// What it has taken over, and what others did to its sagas, it is told until it says
    /// that it has heard it, so that no lost answer leaves a saga to somebody who does not
    /// know about it.
    Own {
        /// Who.
        owner: OwnerId,
        /// For how long it counts as alive from now on, at most
        /// [`SAGA_LEASE_MS_MAX`](crate::limits::SAGA_LEASE_MS_MAX); 0: it gives everything
        /// back, and takes nothing.
        lease_ms: u64,
        /// Most sagas that it takes over now, with those that it was told of and has not
        /// heard of.
        take_max: u32,
        /// [`told`](super::Answer::Owned) of the last answer that it has got; 0 before the
        /// first.
        heard: u64,
    },
}

/// How a call has ended that somebody reports on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// It is done.
    Success {
        /// What it gave back; kept only for an action.
        output: Bytes,
    },
    /// The participant refuses for a reason of the business.
    Failure {
        /// The participant's words.
        message: String,
    },
}

impl Command {
    /// The saga that it is about, if it is about one.
    #[must_use]
    pub fn saga(&self) -> Option<&str> {
        match self {
            Self::Start { start, .. } => Some(&start.saga),
            Self::Append { saga, .. } | Self::Act { saga, .. } | Self::Report { saga, .. } => {
                Some(saga)
            }
            Self::Define { .. } | Self::Own { .. } => None,
        }
    }
}
