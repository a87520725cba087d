//! How calls to participants are doing, for `/metrics`. No label has a participant's name:
//! there may be thousands.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use outrigger_core::saga::Outcome;

use super::{
    Call, NotTried, authorities::Authorities, authority::BreakerState, endpoint::Protocol,
};

/// How often the gauges are brought up to date.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

const CALLS: &str = "outrigger_participant_calls_total";
const NOT_TRIED: &str = "outrigger_participant_calls_not_tried_total";
const SECONDS: &str = "outrigger_participant_call_seconds";
const AUTHORITIES: &str = "outrigger_participant_authorities";
const CALLING: &str = "outrigger_participant_calls_under_way";
const WAITING: &str = "outrigger_participant_calls_waiting";

pub(super) fn describe() {
    describe_counter!(CALLS, "calls to participants, by how they ended");
    describe_counter!(NOT_TRIED, "calls that were kept back, by why");
    describe_histogram!(
        SECONDS,
        "how long calls to participants took, without the wait for their turn"
    );
    describe_gauge!(
        AUTHORITIES,
        "hosts of participants, by the state of their breaker"
    );
    describe_gauge!(CALLING, "calls to participants under way");
    describe_gauge!(WAITING, "calls to participants that wait for their turn");
}

/// A call has ended, or was kept back.
pub(super) fn count(call: &Call, outcome: &Result<Outcome, NotTried>) {
    let protocol = call.endpoint.protocol().name();
    let outcome = match outcome {
        Ok(Outcome::Success { .. }) => "success",
        Ok(Outcome::Failure { .. }) => "failure",
        Ok(Outcome::Unsettled { class, .. }) => class.name(),
        Err(NotTried { why, .. }) => {
            let why = why.name();
            counter!(NOT_TRIED, "protocol" => protocol, "why" => why).increment(1);
            return;
        }
    };
    let phase = call.phase_name();
    counter!(CALLS, "protocol" => protocol, "phase" => phase, "outcome" => outcome).increment(1);
}

/// A call that was tried has ended.
pub(super) fn took(call: &Call, time: Duration) {
    histogram!(SECONDS, "protocol" => call.endpoint.protocol().name()).record(time);
}

pub(super) fn set(authorities: &Authorities) {
    for protocol in Protocol::ALL {
        let census = authorities.census(protocol);
        let protocol = protocol.name();
        for (state, count) in BreakerState::ALL.iter().zip(census.by_state) {
            gauge!(AUTHORITIES, "protocol" => protocol, "breaker" => state.name())
                .set(count as f64);
        }
        gauge!(CALLING, "protocol" => protocol).set(census.calling as f64);
        gauge!(WAITING, "protocol" => protocol).set(census.waiting as f64);
    }
}
