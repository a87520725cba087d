//! What the router itself has to say.

use outrigger_proto::stored;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{edge::status::Failure, forward::TooLong};

/// The request is longer than what is read.
pub(super) fn too_long(error: TooLong) -> Failure {
    let TooLong { bytes, limit_bytes } = error;
    Failure::new(Code::OutOfRange, "REQUEST_TOO_LARGE", error.to_string())
        .with("value", format_args!("{bytes} bytes"))
        .with("limit", format_args!("{limit_bytes} bytes"))
}

/// What a data group refuses a call with, as one entry of an answer says it.
pub(super) fn error(status: &Status) -> stored::Error {
    let info = status.get_details_error_info();
    let (reason, metadata) =
        info.map_or_else(Default::default, |info| (info.reason, info.metadata));
    stored::Error {
        code: status.code() as u32,
        reason,
        message: status.message().to_owned(),
        metadata: metadata.into_iter().collect(),
    }
}
