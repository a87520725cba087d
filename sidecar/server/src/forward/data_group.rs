//! Which data group a call between processes is for.

use std::fmt::Display;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::edge::status::Failure;

/// Names the data group that a call is for. Processes set it among each other where there are
/// several; without it there is one, or the call is an application's.
pub(crate) const HEADER: HeaderName = HeaderName::from_static(NAME);
const NAME: &str = "outrigger-data-group";

/// The group that a call names.
///
/// # Errors
///
/// When there is no such group.
pub(super) fn named(headers: &HeaderMap, groups: u32) -> Result<Option<u32>, Failure> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let group = value.to_str().ok().and_then(|text| text.parse().ok());
    match group {
        Some(group) if group < groups => Ok(Some(group)),
        Some(_) | None => {
            let value = String::from_utf8_lossy(value.as_bytes());
            Err(unknown(value, groups))
        }
    }
}

/// There is no such data group.
pub(crate) fn unknown(value: impl Display, groups: u32) -> Failure {
    let limit = match groups {
        1 => "0: the cluster has one data group".to_owned(),
        groups => format!("0 to {}", groups.saturating_sub(1)),
    };
    Failure::invalid("UNKNOWN_DATA_GROUP", "data_group", value, limit)
}

/// Names the group in a call of this process's own.
pub(crate) fn name(metadata: &mut MetadataMap, group: u32) {
    metadata.insert(NAME, MetadataValue::from(group));
}

/// What the header says of a group.
pub(super) fn value(group: u32) -> HeaderValue {
    HeaderValue::from(group)
}
