use bytes::Bytes;
use outrigger_core::saga::{self, Phase, Record, definition::Mode};

use super::Endpoint;

/// One call to a participant.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom to call.
    pub endpoint: Endpoint,
    /// The saga.
    pub saga: String,
    /// When its first step could begin, in milliseconds since the Unix epoch: how old it is
    /// decides whether a participant can still know its calls.
    pub started_at_ms: u64,
    /// The name of its definition.
    pub definition: String,
    /// The step.
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
    /// What the action gave back, for what follows it; told to gRPC participants.
    pub action_output: Option<Bytes>,
    /// How long the call may take once it is let through, connecting included.
    pub timeout_ms: u64,
    /// The largest output that is taken; at most
    /// [`Options::response_bytes_max`](super::Options::response_bytes_max).
    pub response_bytes_max: usize,
    /// The W3C trace context to go on with.
    pub traceparent: Option<String>,
}

impl Call {
    /// A call that a saga's machine wants, to the endpoint of its target.
    #[must_use]
    pub fn new(record: &Record, call: saga::Call, endpoint: Endpoint) -> Self {
        let definition = record.definition();
        let step = definition.step(call.step).map(|step| step.name.clone());
        Self {
            endpoint,
            saga: record.started().saga.clone(),
            started_at_ms: record.started().start_at_ms,
            definition: definition.name().to_owned(),
            step: step.unwrap_or_default(),
            mode: definition.mode(),
            phase: call.phase,
            attempt: call.attempt,
            idempotency_key: call.idempotency_key,
            payload: call.payload,
            action_output: call.action_output,
            timeout_ms: call.timeout_ms,
            response_bytes_max: definition.payload_bytes_max(),
            traceparent: None,
        }
    }

    /// What the participant is told that it is called for: `action` or `undo`, and in TCC
    /// `try`, `confirm` or `cancel`.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        phase_name(self.mode, self.phase)
    }
}

/// What a phase is called by those who take part.
pub(in crate::saga) fn phase_name(mode: Mode, phase: Phase) -> &'static str {
    match (mode, phase) {
        (Mode::Saga, Phase::Action) => "action",
        (Mode::Saga, Phase::Undo) => "undo",
        (Mode::Tcc, Phase::Action) => "try",
        (Mode::Tcc, Phase::Undo) => "cancel",
        // Only TCC has it.
        (Mode::Saga | Mode::Tcc, Phase::Confirm) => "confirm",
    }
}
