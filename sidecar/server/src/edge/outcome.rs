//! What the log answered, as the protocol says it.

use outrigger_log::{Durability, command::Outcome};
use outrigger_proto::stored::{self, outcome::Kind};

use super::{durability, refusal, status::Failure};

/// The answer to one operation of a batch.
pub(crate) fn message(outcome: Outcome) -> stored::Outcome {
    let kind = match outcome {
        Outcome::Prepared { repeated } => Kind::Prepared(stored::PrepareResponse {
            repeated_call: repeated,
        }),
        Outcome::Resolved { repeated } => Kind::Resolved(stored::ResolveResponse {
            repeated_call: repeated,
        }),
        Outcome::Refused(refusal) => return failure(refusal.into()),
        other => match receipt(&other) {
            Some(receipt) => Kind::Sent(receipt),
            None => return failure(refusal::unexpected(Some(&other))),
        },
    };
    stored::Outcome { kind: Some(kind) }
}

/// The answer to an operation that failed.
pub(crate) fn failure(failure: Failure) -> stored::Outcome {
    stored::Outcome {
        kind: Some(Kind::Error(failure.into())),
    }
}

/// Where a plain message was stored, if that is what the log answered.
pub(crate) fn receipt(outcome: &Outcome) -> Option<stored::SendReceipt> {
    let reached = |durability| stored::SendReceipt {
        durability: durability::to_wire(durability).into(),
        ..Default::default()
    };
    let synced = reached(Durability::Synced);
    match *outcome {
        Outcome::Sent { queue, offset } => Some(stored::SendReceipt {
            queue,
            offset,
            ..synced
        }),
        Outcome::Scheduled => Some(synced),
        Outcome::Duplicate => Some(stored::SendReceipt {
            duplicate: true,
            ..synced
        }),
        Outcome::Replicated => Some(reached(Durability::Replicated)),
        Outcome::Accepted => Some(reached(Durability::Accepted)),
        _ => None,
    }
}
