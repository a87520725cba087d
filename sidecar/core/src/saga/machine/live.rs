use crate::saga::{ErrorClass, Outcome, Phase};

/// What an owner knows of a step and nobody else: it is gone when the owner is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// A call is under way.
    pub(super) sent: Option<Sent>,
    /// How a call has ended, while that is not recorded.
    pub(super) ended: Option<Ended>,
    /// This call, if it is the one that is recorded, is not made for the time being.
    pub(super) kept_back: Option<(Phase, u32)>,
    /// This owner has recorded the first attempt of the action, so no other one has sent it.
    pub(super) first_is_ours: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) phase: Phase,
    pub(super) attempt: u32,
    /// When it counts as timed out although nobody said so.
    pub(super) until_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) phase: Phase,
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
    /// When the next attempt may begin, if there is one.
    pub(super) retry_at_ms: u64,
}

impl Ended {
    /// It is about the attempt that is recorded, or it is a success, which is one whichever
    /// attempt brought it.
    pub(super) fn is_about(&self, phase: Phase, attempt: u32) -> bool {
        let succeeded = match self.outcome {
            Outcome::Success { .. } => true,
            Outcome::Failure { .. } | Outcome::Unsettled { .. } => false,
        };
        self.phase == phase && (self.attempt == attempt || (succeeded && self.attempt < attempt))
    }

    /// The class of an outcome that is none.
    pub(super) fn class(&self) -> Option<ErrorClass> {
        match self.outcome {
            Outcome::Unsettled { class, .. } => Some(class),
            Outcome::Success { .. } | Outcome::Failure { .. } => None,
        }
    }
}
