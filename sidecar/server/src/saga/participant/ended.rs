use outrigger_core::saga::{ErrorClass, Outcome};

use super::words;

/// How a call that was tried has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) authority: Authority,
}

/// What a call says about whom it was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// It answers, whatever it answers.
    Reached,
    /// It does not, or only says that it cannot.
    Unreachable,
    /// It was not asked.
    Unknown,
}

impl Ended {
    /// The participant has answered.
    pub(super) fn answered(outcome: Outcome) -> Self {
        let authority = Authority::Reached;
        Self { outcome, authority }
    }

    /// It has answered with something that settles nothing.
    pub(super) fn unsettled(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::answered(unsettled(class, message.into()))
    }

    /// Nobody has answered.
    pub(super) fn unanswered(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            outcome: unsettled(class, message.into()),
            authority: Authority::Unreachable,
        }
    }

    /// Nothing was sent, because the protocol cannot express the call.
    pub(super) fn illegal(message: impl Into<String>) -> Self {
        Self {
            outcome: unsettled(ErrorClass::Internal, message.into()),
            authority: Authority::Unknown,
        }
    }

    /// When the participant wants to be asked again, where nothing is settled.
    pub(super) fn after(mut self, after_ms: Option<u64>) -> Self {
        if let Outcome::Unsettled { retry_after_ms, .. } = &mut self.outcome {
            *retry_after_ms = after_ms;
        }
        self
    }
}

fn unsettled(class: ErrorClass, message: String) -> Outcome {
    Outcome::Unsettled {
        class,
        message: words::cut(&message),
        retry_after_ms: None,
    }
}
