use bytes::Bytes;

use crate::saga::{Outcome, Phase, StepIndex, event::Event, record::Illegal};

/// What happened, as far as the machine has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed, or the saga was just taken over, or somebody else's event was
    /// applied.
    Tick,
    /// A call has ended. Every [`Call`] ends exactly once as far as its owner is concerned;
    /// when there is no answer within its timeout, as timed out. An answer that comes later
    /// all the same, or by another way such as a message, is welcome too.
    Ended {
        /// Which step.
        step: StepIndex,
        /// What it was called for.
        phase: Phase,
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// A [`Call`] was not made after all: whom it is for cannot be reached now. It has not
    /// ended and is not under way, and no attempt is used up; it is asked for again after
    /// [`Input::LetThrough`] and not before.
    KeptBack {
        /// Which step.
        step: StepIndex,
        /// What it was called for.
        phase: Phase,
        /// Which attempt.
        attempt: u32,
    },
    /// The delivery that was asked for was not tried, as with [`Input::KeptBack`].
    DeliveryKeptBack,
    /// Whatever was kept back may be tried now.
    LetThrough,
    /// The events of the last [`Effect::Append`] are durable, and applied.
    Appended,
    /// The events of the last [`Effect::Append`] were refused, because others came first.
    /// Those have been applied by now.
    Refused,
    /// An attempt to deliver the result has ended.
    DeliveryEnded {
        /// Everybody has it; otherwise what was seen.
        delivered: Result<(), String>,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Record these events, all or none, if exactly `after` events are recorded and the
    /// owner's epoch is the one that is recorded. When they are durable, apply each with
    /// [`Saga::apply`](super::Saga::apply), then give [`Input::Appended`]. There is at most
    /// one such effect under way.
    Append {
        /// How many events are recorded before them.
        after: u64,
        /// The events.
        events: Vec<Event>,
    },
    /// Call a participant. Everything that has to be durable before is durable.
    Call(Call),
    /// Deliver the result to every place that the definition names.
    Deliver {
        /// The number of the attempt, from 1 for every owner.
        attempt: u32,
    },
}

/// One call of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which step; the definition says whom.
    pub step: StepIndex,
    /// What for.
    pub phase: Phase,
    /// The number of the attempt, from 1. It may go out more than once, when the owner
    /// changes.
    pub attempt: u32,
    /// The same for all attempts.
    pub idempotency_key: String,
    /// What the participant is given.
    pub payload: Bytes,
    /// What the action gave back, for an undo or a confirm; nothing when that is unknown.
    pub action_output: Option<Bytes>,
    /// How long it may take.
    pub timeout_ms: u64,
}

/// Why the machine cannot go on. The driver drops it and recovers the saga from what is
/// recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A call has ended that was never made.
    #[error("attempt {attempt} of {phase:?} of step {step} was never made")]
    NeverCalled {
        /// Which step.
        step: StepIndex,
        /// What for.
        phase: Phase,
        /// Which attempt.
        attempt: u32,
    },
    /// A recorded event may not follow what is known.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// Events are missing.
    #[error("event {sequence} is given, but {expected} is the next")]
    Gap {
        /// The number of the event.
        sequence: u64,
        /// The next one.
        expected: u64,
    },
}
