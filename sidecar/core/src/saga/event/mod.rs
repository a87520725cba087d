//! What is durably known about a saga, event by event.

mod codec;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(super) use codec::{get_cause, get_phase, get_reason, put_cause, put_phase, put_reason};

use super::{ErrorClass, Phase, StepIndex, definition::Version};

/// How a saga begins: the first thing that is recorded about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its id.
    pub saga: String,
    /// The name of its definition.
    pub definition: String,
    /// The version of its definition, which it keeps.
    pub version: Version,
    /// Its input.
    pub input: Bytes,
    /// When its first step may begin.
    pub start_at_ms: u64,
    /// When it is undone unless it has passed its point of no return.
    pub deadline_at_ms: Option<u64>,
    /// The saga that it is a step of.
    pub parent: Option<Parent>,
}

/// The saga that another one is a step of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its id.
    pub saga: String,
    /// The step.
    pub step: String,
}

/// Something that happened to a saga. All that is known about one follows from its
/// [`Start`] and its events in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call may go out from now on.
    Started {
        /// Which step.
        step: StepIndex,
        /// What it is called for.
        phase: Phase,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// Why the attempt before was not the last one; nothing for the first.
        after: Option<ErrorClass>,
    },
    /// A call has succeeded.
    Succeeded {
        /// Which step.
        step: StepIndex,
        /// What it was called for.
        phase: Phase,
        /// What the action gave back; empty in the other phases.
        output: Bytes,
    },
    /// The participant refused the action for a reason of the business.
    Failed {
        /// Which step.
        step: StepIndex,
        /// The refused call is the only one that was ever sent for this action, so that
        /// there is nothing to undo. Otherwise the action is undone like an unknown one.
        only_call: bool,
        /// The participant's words.
        message: String,
    },
    /// The outcome of an action will not be waited for any more. It is unknown for ever,
    /// and the action is undone.
    Abandoned {
        /// Which step.
        step: StepIndex,
        /// Why.
        reason: Reason,
    },
    /// A call that has to succeed does not; it waits for a person.
    Stuck {
        /// Which step.
        step: StepIndex,
        /// What it was called for.
        phase: Phase,
        /// Why.
        reason: Reason,
    },
    /// From now on everything is undone.
    UndoBegun {
        /// Why.
        cause: UndoCause,
    },
    /// TCC: every step is tried; from now on everything is confirmed.
    ConfirmBegun,
    /// Nothing goes on without a person, because steps are stuck.
    Parked,
    /// Every step has succeeded.
    Completed,
    /// Everything that was done is undone.
    Undone,
    /// The result has arrived at every place that it was to be delivered to.
    ResultDelivered,
    /// The result could not be delivered.
    ResultGivenUp {
        /// What was seen last.
        message: String,
    },
    /// A person did something.
    ByHand {
        /// What.
        act: Act,
        /// Who, and why.
        note: Note,
    },
}

/// What a person may do to a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Call a step again now, although it is stuck or would wait.
    Retry {
        /// Which step.
        step: StepIndex,
    },
    /// Take what a step was called for as done by hand.
    Skip {
        /// Which step.
        step: StepIndex,
        /// The phase it is in.
        phase: Phase,
        /// What stands in for the action's output; empty in the other phases.
        output: Bytes,
    },
    /// Call a step with another input from now on.
    EditInput {
        /// Which step.
        step: StepIndex,
        /// What it is called for.
        phase: Phase,
        /// The input.
        input: Bytes,
    },
    /// Undo everything.
    Undo,
    /// Set the saga aside: no call begins any more.
    Park,
    /// Go on.
    Resume,
}

/// Who did something by hand, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who did it, or `saga:ID` for the saga that this one is a step of.
    pub by: String,
    /// Why; never empty, at most 1,024 characters.
    pub reason: String,
}

impl Note {
    /// Who did it when it was the saga that this one is a step of.
    #[must_use]
    pub fn by_saga(saga: &str) -> String {
        format!("saga:{saga}")
    }
}

/// Why everything is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoCause {
    /// A step failed, or its outcome will never be known.
    Step(StepIndex),
    /// The saga took too long.
    Deadline,
    /// A person, or the saga that this one is a step of, wanted it.
    ByHand,
}

/// Why a call is not repeated any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The participant refused for a reason of the business.
    Refused {
        /// The participant's words.
        message: String,
    },
    /// Its retry policy allows no further attempt.
    Exhausted {
        /// How the last attempt ended.
        class: ErrorClass,
        /// What was seen last.
        message: String,
    },
    /// What the action gave back is more than the saga may keep.
    OutputTooLarge {
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// Everything is being undone, and the outcome was not known when that began.
    Undoing,
}
