//! When a send is answered, as the protocol says it.

use outrigger_log::Durability;
use outrigger_proto::stored;

use super::status::Failure;

/// What a request chooses; `None` when it leaves it to the topic.
pub(crate) fn chosen(wire: i32) -> Result<Option<Durability>, Failure> {
    match stored::Durability::try_from(wire) {
        Ok(stored::Durability::Unspecified) => Ok(None),
        Ok(stored::Durability::Synced) => Ok(Some(Durability::Synced)),
        Ok(stored::Durability::Replicated) => Ok(Some(Durability::Replicated)),
        Ok(stored::Durability::Accepted) => Ok(Some(Durability::Accepted)),
        Err(_) => Err(illegal(
            wire,
            "DURABILITY_SYNCED, DURABILITY_REPLICATED or DURABILITY_ACCEPTED",
        )),
    }
}

/// Half-messages and their verdicts: a promise that a crash could take back is none.
pub(crate) fn only_synced(wire: i32) -> Result<(), Failure> {
    match chosen(wire)? {
        None | Some(Durability::Synced) => Ok(()),
        Some(less @ (Durability::Replicated | Durability::Accepted)) => Err(illegal(
            to_wire(less).as_str_name(),
            "DURABILITY_SYNCED for half-messages and their verdicts",
        )),
    }
}

pub(crate) fn to_wire(durability: Durability) -> stored::Durability {
    match durability {
        Durability::Synced => stored::Durability::Synced,
        Durability::Replicated => stored::Durability::Replicated,
        Durability::Accepted => stored::Durability::Accepted,
    }
}

pub(crate) fn illegal(value: impl std::fmt::Display, limit: &'static str) -> Failure {
    Failure::invalid("ILLEGAL_DURABILITY", "durability", value, limit)
}
