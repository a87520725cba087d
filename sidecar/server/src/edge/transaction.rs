//! Transactions at the edge: ids, fingerprints, and bodies that come from the fence.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;
use outrigger_log::{
    Log, Transaction,
    command::{Command, TransactionId},
};
use outrigger_proto::stored;
use prost::Message as _;
use tonic::Code;
use xxhash_rust::xxh3::Xxh3;

use super::{message, status::Failure};

/// Reads a transaction's id.
pub(crate) fn id(text: &str) -> Result<TransactionId, Failure> {
    text.parse()
        .map_err(|_| Failure::invalid("ILLEGAL_TRANSACTION_ID", "transaction_id", text, "a UUID"))
}

/// What the log knows of a transaction.
pub(crate) fn find(log: &Log, id: TransactionId) -> Result<Option<Transaction>, Failure> {
    log.transaction(id).map_err(|error| unreadable(&error))
}

/// The log has it and cannot read it.
fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Internal, "LOG_UNREADABLE", error.to_string())
}

/// Reads a verdict that decides.
pub(crate) fn verdict(number: i32) -> Result<Verdict, Failure> {
    match stored::Verdict::try_from(number) {
        Ok(stored::Verdict::Commit) => Ok(Verdict::Commit),
        Ok(stored::Verdict::Rollback) => Ok(Verdict::Rollback),
        Ok(stored::Verdict::Unknown) | Err(_) => Err(Failure::invalid(
            "ILLEGAL_VERDICT",
            "verdict",
            number,
            "VERDICT_COMMIT or VERDICT_ROLLBACK",
        )),
    }
}

/// What tells a repeated Prepare from one with other content.
pub(crate) struct Fingerprint(Xxh3);

impl Fingerprint {
    pub(crate) fn new(producer_group: &str) -> Self {
        let mut hash = Xxh3::new();
        hash.update(producer_group.as_bytes());
        Self(hash)
    }

    /// Adds one message as the client sent it. A client may write several properties in
    /// another order each time it encodes a message; `canonical` brings them into one.
    pub(crate) fn add(&mut self, encoded: &Bytes, canonical: bool) {
        self.0.update(&(encoded.len() as u64).to_le_bytes());
        match canonical.then(|| stored::Message::decode(encoded.clone())) {
            Some(Ok(message)) => self.0.update(&message.encode_to_vec()),
            Some(Err(_)) | None => self.0.update(encoded),
        }
    }

    pub(crate) fn finish(self) -> u128 {
        self.0.digest128()
    }
}

/// The command for a verdict; `payload` is the body of messages that take it from the
/// fence.
pub(crate) fn resolve(
    log: &Log,
    id: TransactionId,
    verdict: Verdict,
    payload: Option<&Bytes>,
) -> Result<Command, Failure> {
    let replacements = match (verdict, payload) {
        (Verdict::Commit, Some(payload)) => with_payload(log, id, payload)?,
        (Verdict::Commit | Verdict::Rollback, _) => Vec::new(),
    };
    Ok(Command::Resolve {
        id,
        verdict,
        replacements,
    })
}

/// The complete messages of a transaction whose bodies come from the fence.
pub(crate) fn with_payload(
    log: &Log,
    id: TransactionId,
    payload: &Bytes,
) -> Result<Vec<(u32, Bytes)>, Failure> {
    let Some(transaction) = find(log, id)? else {
        // The log itself says which of its refusals this is.
        return Ok(Vec::new());
    };
    let late: Vec<_> = transaction
        .messages
        .iter()
        .filter(|message| message.from_fence)
        .collect();
    let entries: Vec<_> = late.iter().map(|message| message.stored).collect();
    let stored = log.read(&entries).map_err(|error| unreadable(&error))?;
    Ok(entries
        .iter()
        .zip(stored)
        .map(|(entry, stored)| {
            let place = u32::try_from(entry.offset).unwrap_or(u32::MAX);
            (place, message::with_body(&stored, payload))
        })
        .collect())
}
