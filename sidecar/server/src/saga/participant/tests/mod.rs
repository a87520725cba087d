//! Calls over real sockets, to participants that behave well and badly.

mod answers;
mod breaking;
mod connections;
mod crowds;
mod endpoints;
mod grpc;
mod scripted;

use bytes::Bytes;
use outrigger_core::saga::{ErrorClass, Outcome, Phase, definition::Mode};

use super::{Call, Caller, Endpoint, KeptBack, NotTried, Options};
use scripted::Scripted;

/// Longer than any test takes, for calls that must not end by themselves.
const LONG_MS: u64 = 120_000;

fn call(endpoint: Endpoint) -> Call {
    Call {
        endpoint,
        saga: "order-17".to_owned(),
        started_at_ms: 1_700_000_000_000,
        definition: "order".to_owned(),
        step: "reserve".to_owned(),
        mode: Mode::Saga,
        phase: Phase::Action,
        attempt: 1,
        idempotency_key: "order-17/reserve/action".to_owned(),
        action_output: None,
        payload: Bytes::from_static(br#"{"amount":12}"#),
        timeout_ms: LONG_MS,
        response_bytes_max: 1 << 20,
        traceparent: None,
    }
}

fn success(output: &[u8]) -> Result<Outcome, NotTried> {
    let output = Bytes::copy_from_slice(output);
    Ok(Outcome::Success { output })
}

fn done() -> Result<Outcome, NotTried> {
    success(b"done")
}

/// In which way nothing is settled, the message, and when to ask again.
fn unsettled(outcome: Result<Outcome, NotTried>) -> (ErrorClass, String, Option<u64>) {
    match outcome {
        Ok(Outcome::Unsettled {
            class,
            message,
            retry_after_ms,
        }) => (class, message, retry_after_ms),
        other => panic!("not unsettled: {other:?}"),
    }
}

fn class(outcome: Result<Outcome, NotTried>) -> ErrorClass {
    unsettled(outcome).0
}

fn kept_back(outcome: Result<Outcome, NotTried>) -> KeptBack {
    outcome.expect_err("it was tried").why
}
