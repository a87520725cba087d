//! What became of an attempt, and how it is told.

use std::error::Error;

use http::{HeaderMap, Response};
use tonic::{Code, ConnectError, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::edge::status::{DOMAIN, Failure};

/// No node leads that could be reached.
pub(crate) const NO_LEADER: &str = "NO_LEADER";
/// This node does not lead; nothing was taken.
pub(crate) const NOT_LEADER: &str = "NOT_LEADER";
/// This node does not take part yet.
const NOT_READY: &str = "NOT_READY";
const NOT_TAKING_PART: &str = "NODE_NOT_TAKING_PART";
/// A stream ended with the leader that served it.
pub(crate) const LEADER_CHANGED: &str = "LEADER_CHANGED";
/// The leader was lost on the way.
pub(crate) const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There is an answer, be it good or bad.
    Answered,
    /// It surely had no effect.
    NotTaken,
    /// It may have had its effect.
    Unknown,
}

impl Fate {
    /// Of a call that got no answer.
    pub(super) fn of_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<ConnectError>() {
                return Self::NotTaken;
            }
            cause = error.source();
        }
        Self::Unknown
    }

    /// Of a call that was answered with these headers or trailers.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        let Some(status) = Status::from_header_map(headers) else {
            return Self::Answered;
        };
        Self::of_status(&status)
    }

    pub(super) fn of_status(status: &Status) -> Self {
        if status.code() != Code::Unavailable {
            return Self::Answered;
        }
        let reason = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN)
            .map(|info| info.reason);
        match reason.as_deref() {
            Some(NO_LEADER | NOT_LEADER | NOT_READY | NOT_TAKING_PART) => Self::NotTaken,
            // Of a node that ends, too: it does not know what becomes of its last calls.
            Some(OUTCOME_UNKNOWN | LEADER_CHANGED | "SHUTTING_DOWN") | None => Self::Unknown,
            // Something behind the leader is away, as a guard's Redis is.
            Some(_) => Self::Answered,
        }
    }
}

/// Why a call of our own to the leader failed, in the words of the protocol.
pub(super) fn reason_of(status: &Status) -> &'static str {
    let info = status.get_details_error_info();
    match info.as_ref().map(|info| info.reason.as_str()) {
        Some(NO_LEADER) => NO_LEADER,
        Some(NOT_LEADER) => NOT_LEADER,
        Some(OUTCOME_UNKNOWN) => OUTCOME_UNKNOWN,
        Some(_) | None if status.code() == Code::Unavailable => "LOG_UNAVAILABLE",
        Some(_) | None => "UNEXPECTED_OUTCOME",
    }
}

pub(super) fn no_leader(waited_ms: u64) -> Failure {
    Failure::new(
        Code::Unavailable,
        NO_LEADER,
        format!(
            "no leader of the cluster could be reached within {waited_ms} ms; nothing was taken"
        ),
    )
    .with("limit", format_args!("{waited_ms} ms"))
}

pub(super) fn not_leader() -> Failure {
    Failure::new(
        Code::Unavailable,
        NOT_LEADER,
        "the leader is not where it was expected; nothing was taken",
    )
}

pub(super) fn outcome_unknown() -> Failure {
    Failure::new(
        Code::Unavailable,
        OUTCOME_UNKNOWN,
        "the leader was lost: whether this was stored is not known",
    )
}

pub(crate) fn leader_changed() -> Failure {
    Failure::new(
        Code::Unavailable,
        LEADER_CHANGED,
        "the leader of the cluster has changed: open the stream again",
    )
}

/// The answer to a call that is refused here.
pub(super) fn response(failure: Failure) -> Response<Body> {
    Status::from(failure).into_http()
}

/// The end of a stream that is refused here.
pub(crate) fn trailers(failure: Failure) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if Status::from(failure).add_header(&mut trailers).is_err() {
        // It has no text that could not be a header; the code alone says enough.
        trailers.insert("grpc-status", http::HeaderValue::from_static("14"));
    }
    trailers
}
