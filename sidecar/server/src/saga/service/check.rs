//! What every request has to keep to.

use std::time::Duration;

use outrigger_core::{
    limits::{
        REASON_CHARACTERS_MAX, SAGA_DEADLINE_MS_MAX, SAGA_DEPTH_MAX, SAGA_ID_CHARACTERS_MAX,
        SAGA_STEP_CHARACTERS_MAX,
    },
    saga::{definition::Version, event::Note},
};

use crate::edge::status::Failure;

/// The longest that a call waits for the end of a saga.
const WAIT_MS_MAX: u64 = 60_000;
/// Who does something by hand.
const BY_CHARACTERS_MAX: usize = 120;
/// A saga that an application started, and those in it, each with a `/` before its step.
pub(super) const ID_BYTES_MAX: usize =
    SAGA_ID_CHARACTERS_MAX + (SAGA_DEPTH_MAX - 1) * (1 + SAGA_STEP_CHARACTERS_MAX);

/// The id of a saga that may be a step of another one.
pub(super) fn saga_id(id: String) -> Result<String, Failure> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) {
        return Ok(id);
    }
    let limit = format_args!("1 to {ID_BYTES_MAX} bytes");
    Err(Failure::invalid("ILLEGAL_SAGA_ID", "saga_id", id, limit))
}

pub(super) fn wait(wait_ms: u64) -> Result<Duration, Failure> {
    if wait_ms <= WAIT_MS_MAX {
        return Ok(Duration::from_millis(wait_ms));
    }
    let limit = format_args!("at most {WAIT_MS_MAX}");
    Err(Failure::invalid("ILLEGAL_WAIT", "wait_ms", wait_ms, limit))
}

/// When a saga begins, and by when it has to have ended.
pub(super) fn times(
    start_at_ms: u64,
    now_ms: u64,
    deadline_ms: Option<u64>,
) -> Result<(u64, Option<u64>), Failure> {
    let latest_ms = now_ms.saturating_add(SAGA_DEADLINE_MS_MAX);
    if start_at_ms > latest_ms {
        let limit = format_args!("at most {latest_ms}, which is in 365 days");
        let (reason, field) = ("ILLEGAL_START_TIME", "start_at_ms");
        return Err(Failure::invalid(reason, field, start_at_ms, limit));
    }
    let at_ms = match start_at_ms {
        0 => now_ms,
        at_ms => at_ms,
    };
    let deadline_at_ms = deadline_ms.map(|ms| at_ms.saturating_add(ms));
    Ok((at_ms, deadline_at_ms))
}

/// Nothing stands for the latest version.
pub(super) fn version(version: &str) -> Result<Option<Version>, Failure> {
    if version.is_empty() {
        return Ok(None);
    }
    version.parse().map(Some).map_err(|_| {
        let limit = "32 hexadecimal digits, or nothing for the latest";
        Failure::invalid("ILLEGAL_VERSION", "version", version, limit)
    })
}

/// Who does something by hand, and why.
pub(super) fn note(by: String, reason: String) -> Result<Note, Failure> {
    text("ILLEGAL_BY", "by", &by, BY_CHARACTERS_MAX)?;
    text("ILLEGAL_REASON", "reason", &reason, REASON_CHARACTERS_MAX)?;
    // Sagas sign so when they undo those that are their steps.
    if by.starts_with(&Note::by_saga("")) {
        let limit = "a person; what begins with saga: is a saga";
        return Err(Failure::invalid("ILLEGAL_BY", "by", by, limit));
    }
    Ok(Note { by, reason })
}

pub(super) fn text(
    code: &'static str,
    field: &'static str,
    value: &str,
    characters_max: usize,
) -> Result<(), Failure> {
    let characters = value.chars().count();
    if !value.trim().is_empty() && characters <= characters_max {
        return Ok(());
    }
    let limit = format_args!("1 to {characters_max} characters, for the audit log");
    Err(Failure::invalid(code, field, value, limit))
}

/// A payload, by the limit of the saga's definition.
pub(super) fn payload(
    code: &'static str,
    field: &'static str,
    bytes: usize,
    bytes_max: usize,
) -> Result<(), Failure> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let value = format_args!("{bytes} bytes");
    let limit = format_args!("at most {bytes_max} bytes, the definition's payload_bytes_max");
    Err(Failure::invalid(code, field, value, limit))
}
