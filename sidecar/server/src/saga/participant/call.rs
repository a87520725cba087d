use std::time::Duration;

use bytes::Bytes;
use outrigger_core::saga::{Phase, definition::Mode};

use super::Endpoint;

/// One call to a participant.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom to call.
    pub endpoint: Endpoint,
    /// The saga.
    pub saga: String,
    /// Its step.
    pub step: String,
    /// What the saga is made of; it decides what participants call the phase.
    pub mode: Mode,
    /// What to do.
    pub phase: Phase,
    /// 1 for the first.
    pub attempt: u32,
    /// The same for all attempts that must have one effect together.
    pub idempotency_key: String,
    /// What to do it with; JSON for a participant that is called over HTTP, opaque here.
    pub payload: Bytes,
    /// How long the call may take once it is let through, connecting included.
    pub timeout: Duration,
    /// The largest output that is taken; at most
    /// [`Options::response_bytes_max`](super::Options::response_bytes_max).
    pub response_bytes_max: usize,
    /// The W3C trace context to go on with.
    pub traceparent: Option<String>,
}

impl Call {
    /// What the participant is told that it is called for: `action` or `undo`, and in TCC
    /// `try`, `confirm` or `cancel`.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        match (self.mode, self.phase) {
            (Mode::Saga, Phase::Action) => "action",
            (Mode::Saga, Phase::Undo) => "undo",
            (Mode::Tcc, Phase::Action) => "try",
            (Mode::Tcc, Phase::Undo) => "cancel",
            // Only TCC has it.
            (Mode::Saga | Mode::Tcc, Phase::Confirm) => "confirm",
        }
    }
}
