//! How a failure is told: one shape for the gRPC status and for an outcome in a batch.

use std::{collections::BTreeMap, collections::HashMap, fmt};

use outrigger_core::name;
use outrigger_proto::stored;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` that Outrigger sends.
pub const DOMAIN: &str = "outrigger";

/// A failure with everything a client needs to act on it.
///
/// Over gRPC it becomes a status whose details hold
/// `ErrorInfo{reason, domain: "outrigger", metadata}`; inside a batch it becomes an
/// `outrigger.v1.Error` with the same contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// A stable name in capitals, such as `TRANSACTION_NOT_FOUND`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// For programs: `field`, `value`, `limit` and what else the reason has.
    pub metadata: BTreeMap<&'static str, String>,
}

impl Failure {
    /// A failure without metadata.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
        }
    }

    /// Adds one metadata entry.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key, value.to_string());
        self
    }

    /// INVALID_ARGUMENT that names the field, its value and what is allowed.
    pub fn invalid(
        reason: &'static str,
        field: &'static str,
        value: impl fmt::Display,
        limit: impl fmt::Display,
    ) -> Self {
        let value = shortened(&value.to_string());
        Self::new(
            Code::InvalidArgument,
            reason,
            format!("{field} is {value}; allowed: {limit}"),
        )
        .with("field", field)
        .with("value", value)
        .with("limit", limit)
    }
}

/// Values are echoed for orientation; a client's 4 MiB are not sent back to it.
fn shortened(value: &str) -> String {
    const ECHOED_CHARS_MAX: usize = 160;
    if value.chars().count() <= ECHOED_CHARS_MAX {
        return format!("\"{value}\"");
    }
    let start: String = value.chars().take(ECHOED_CHARS_MAX).collect();
    format!("\"{start}\"… ({} bytes)", value.len())
}

impl From<name::Error> for Failure {
    fn from(error: name::Error) -> Self {
        let message = error.to_string();
        let failure =
            |field| Self::new(Code::InvalidArgument, "ILLEGAL_NAME", message).with("field", field);
        match error {
            name::Error::Empty { field } => failure(field).with("limit", "at least 1 character"),
            name::Error::TooLong {
                field,
                characters,
                limit,
            } => failure(field)
                .with("value", format_args!("{characters} characters"))
                .with("limit", format_args!("at most {limit} characters")),
            name::Error::Illegal { field, character } => {
                failure(field).with("value", character).with(
                    "limit",
                    "letters a-z and A-Z, digits, `_`, `-`, `%` and `.`",
                )
            }
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let metadata: HashMap<String, String> = failure
            .metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let details = ErrorDetails::with_error_info(failure.reason, DOMAIN, metadata);
        Self::with_error_details(failure.code, failure.message, details)
    }
}

impl From<Failure> for stored::Error {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code as u32,
            reason: failure.reason.to_owned(),
            message: failure.message,
            metadata: failure
                .metadata
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }
}
