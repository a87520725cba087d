use std::collections::BTreeMap;

use outrigger_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What the sidecar answered when it refused something.
///
/// Parsed from the gRPC status and its `ErrorInfo{reason, domain: "outrigger", metadata}`,
/// or from the error of one operation in a batch, which carries the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({})", self.reason_or_code())]
pub struct Refusal {
    /// The gRPC status code.
    pub code: Code,
    /// A stable name in capitals, such as `TRANSACTION_NOT_FOUND`. Empty when the answer
    /// did not come from Outrigger itself (a lost connection, a proxy in between).
    pub reason: String,
    /// For people: names the field, its value and the limit.
    pub message: String,
    /// Whatever else the reason has to say.
    pub metadata: BTreeMap<String, String>,
}

impl Refusal {
    /// The field that was refused, when the reason has one.
    pub fn field(&self) -> Option<&str> {
        self.metadata.get("field").map(String::as_str)
    }

    /// The value that was refused.
    pub fn value(&self) -> Option<&str> {
        self.metadata.get("value").map(String::as_str)
    }

    /// The limit that the value went over.
    pub fn limit(&self) -> Option<&str> {
        self.metadata.get("limit").map(String::as_str)
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        match self.code {
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Internal => true,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        }
    }

    fn reason_or_code(&self) -> String {
        if self.reason.is_empty() {
            format!("{:?}", self.code)
        } else {
            self.reason.clone()
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == "outrigger");
        let (reason, metadata) = match info {
            Some(info) => (info.reason, info.metadata.into_iter().collect()),
            None => (String::new(), BTreeMap::new()),
        };
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            metadata,
        }
    }
}

impl From<v1::Error> for Refusal {
    fn from(error: v1::Error) -> Self {
        Self {
            code: Code::from(i32::try_from(error.code).unwrap_or(i32::MAX)),
            reason: error.reason,
            message: error.message,
            metadata: error.metadata,
        }
    }
}
