//! What the processes of a cluster say to each other about sagas, between the protocol and
//! the core.

mod answer;
mod view;

pub(crate) use answer::{from_answer, to_answer};
pub(crate) use view::{definition_of, from_view, to_view};

use outrigger_core::saga::{codec::DecodeError, definition, ledger::OwnerId};

/// What another process said makes no sense to this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The bytes cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The definition cannot be read.
    #[error(transparent)]
    Definition(#[from] definition::LoadError),
    /// A field is missing, or has a value that this program does not know.
    #[error("{field} is missing or unknown")]
    Field {
        /// Which.
        field: &'static str,
    },
}

/// Nobody is no bytes.
fn to_owner(owner: Option<OwnerId>) -> bytes::Bytes {
    owner.map_or_else(bytes::Bytes::new, |owner| {
        bytes::Bytes::copy_from_slice(&owner.to_be_bytes())
    })
}

fn from_owner(bytes: &[u8]) -> Result<Option<OwnerId>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| Malformed::Field { field: "owner" })?;
    Ok(Some(OwnerId::from_be_bytes(bytes)))
}
