//! What the router itself has to say.

use tonic::Code;

use crate::{edge::status::Failure, forward::TooLong};

/// The request is longer than what is read.
pub(super) fn too_long(error: TooLong) -> Failure {
    let TooLong { bytes, limit_bytes } = error;
    Failure::new(Code::OutOfRange, "REQUEST_TOO_LARGE", error.to_string())
        .with("value", format_args!("{bytes} bytes"))
        .with("limit", format_args!("{limit_bytes} bytes"))
}
