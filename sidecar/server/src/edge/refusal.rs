//! What the log refuses, in the words of the protocol.

use outrigger_core::half_message::Verdict;
use outrigger_log::{
    Durability, Log, SubmitError,
    command::{Command, Outcome, Refusal, TransactionId},
};
use tonic::Code;

use super::status::Failure;

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        let failure = |code, reason| Self::new(code, reason, message);
        match error {
            SubmitError::Overloaded {
                in_flight_bytes,
                limit_bytes,
            } => failure(Code::ResourceExhausted, "LOG_OVERLOADED")
                .with("field", "in_flight_bytes")
                .with("value", in_flight_bytes)
                .with("limit", limit_bytes),
            SubmitError::TooLarge { bytes, limit_bytes } => {
                failure(Code::InvalidArgument, "REQUEST_TOO_LARGE")
                    .with("field", "messages")
                    .with("value", format_args!("{bytes} bytes"))
                    .with("limit", format_args!("{limit_bytes} bytes"))
            }
            SubmitError::DiskFull => failure(Code::ResourceExhausted, "DISK_FULL"),
            SubmitError::DiskAlmostFull {
                used_percent,
                limit_percent,
            } => failure(Code::ResourceExhausted, "DISK_FULL")
                .with("field", "disk_used_percent")
                .with("value", used_percent)
                .with("limit", limit_percent),
            SubmitError::NotLeader { leader } => {
                let failure = failure(Code::Unavailable, "NOT_LEADER");
                match leader {
                    Some(leader) => failure.with("leader", leader),
                    None => failure,
                }
            }
            SubmitError::OutcomeUnknown => failure(Code::Unavailable, "OUTCOME_UNKNOWN"),
            SubmitError::Closed => failure(Code::Unavailable, "SHUTTING_DOWN"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = kind(&refusal);
        let failure = Self::new(code, reason, refusal.to_string());
        match refusal {
            Refusal::TransactionNotFound(id)
            | Refusal::TransactionContentDiffers(id)
            | Refusal::TransactionNotParked(id)
            | Refusal::TransactionEmpty(id)
            | Refusal::TransactionResolved { id, .. } => transaction(failure, id),
            Refusal::TransactionContradiction { id, recorded } => {
                let recorded = match recorded {
                    Verdict::Commit => "commit",
                    Verdict::Rollback => "rollback",
                };
                transaction(failure, id).with("recorded", recorded)
            }
            Refusal::PayloadMissing { id, message } => {
                transaction(failure, id).with("message_index", message)
            }
            Refusal::SequenceGap { expected, got } => failure
                .with("field", "sequence")
                .with("value", got)
                .with("limit", expected),
            Refusal::RefusedBefore { sequence } => {
                failure.with("field", "sequence").with("value", sequence)
            }
            Refusal::StaleEpoch { epoch, current } => failure
                .with("field", "epoch")
                .with("value", epoch)
                .with("limit", current),
            Refusal::TooManyProducers { limit }
            | Refusal::TooManyUnresolved { limit }
            | Refusal::TooManyDelayed { limit }
            | Refusal::TooManyOutgoing { limit } => failure.with("limit", limit),
            Refusal::TooManyTopics { limit } | Refusal::TooManyGroups { limit } => {
                failure.with("limit", limit)
            }
            Refusal::QueuesOutOfBounds { queues, limit } => failure
                .with("field", "queues")
                .with("value", queues)
                .with("limit", limit),
            Refusal::ElsewhereWithoutTransaction { group, topic } => {
                failure.with("topic", topic).with("data_group", group)
            }
            Refusal::UnknownTopic(_)
            | Refusal::ForwardGap { .. }
            | Refusal::NeverOutgoing { .. }
            | Refusal::UnknownQueue { .. }
            | Refusal::UnknownGroup(_)
            | Refusal::UnknownOffset { .. }
            | Refusal::UnknownMessage { .. }
            | Refusal::GuardKeyTooLong { .. } => failure,
        }
    }
}

fn transaction(failure: Failure, id: TransactionId) -> Failure {
    failure.with("field", "transaction_id").with("value", id)
}

fn kind(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::UnknownTopic(_) => (Code::NotFound, "TOPIC_NOT_FOUND"),
        Refusal::UnknownQueue { .. } => (Code::NotFound, "QUEUE_NOT_FOUND"),
        Refusal::UnknownGroup(_) => (Code::NotFound, "CONSUMER_GROUP_NOT_FOUND"),
        Refusal::UnknownOffset { .. } => (Code::NotFound, "OFFSET_NOT_FOUND"),
        Refusal::QueuesOutOfBounds { .. } => (Code::InvalidArgument, "TOO_MANY_QUEUES"),
        Refusal::TransactionNotFound(_) => (Code::NotFound, "TRANSACTION_NOT_FOUND"),
        Refusal::TransactionContradiction { .. } => {
            (Code::FailedPrecondition, "TRANSACTION_CONTRADICTION")
        }
        Refusal::TransactionContentDiffers(_) => {
            (Code::AlreadyExists, "TRANSACTION_CONTENT_DIFFERS")
        }
        Refusal::TransactionNotParked(_) => (Code::FailedPrecondition, "TRANSACTION_NOT_PARKED"),
        Refusal::TransactionEmpty(_) => (Code::InvalidArgument, "TRANSACTION_EMPTY"),
        Refusal::PayloadMissing { .. } => (Code::FailedPrecondition, "PAYLOAD_MISSING"),
        Refusal::UnknownMessage { .. } => (Code::InvalidArgument, "MESSAGE_NOT_FOUND"),
        Refusal::TransactionResolved { .. } => (Code::FailedPrecondition, "TRANSACTION_RESOLVED"),
        Refusal::GuardKeyTooLong { .. } => (Code::InvalidArgument, "GUARD_KEY_TOO_LONG"),
        Refusal::SequenceGap { .. } => (Code::FailedPrecondition, "SEQUENCE_GAP"),
        Refusal::RefusedBefore { .. } => (Code::Aborted, "REFUSED_BEFORE"),
        Refusal::StaleEpoch { .. } => (Code::FailedPrecondition, "STALE_EPOCH"),
        Refusal::TooManyProducers { .. } => (Code::ResourceExhausted, "TOO_MANY_PRODUCERS"),
        Refusal::TooManyUnresolved { .. } => (Code::ResourceExhausted, "TOO_MANY_UNRESOLVED"),
        Refusal::TooManyDelayed { .. } => (Code::ResourceExhausted, "TOO_MANY_DELAYED"),
        Refusal::TooManyOutgoing { .. } => (Code::ResourceExhausted, "TOO_MANY_OUTGOING"),
        Refusal::ElsewhereWithoutTransaction { .. } => {
            (Code::FailedPrecondition, "TOPIC_ELSEWHERE")
        }
        Refusal::ForwardGap { .. } => (Code::FailedPrecondition, "FORWARD_GAP"),
        Refusal::NeverOutgoing { .. } => (Code::FailedPrecondition, "NEVER_OUTGOING"),
        Refusal::TooManyTopics { .. } => (Code::ResourceExhausted, "TOO_MANY_TOPICS"),
        Refusal::TooManyGroups { .. } => (Code::ResourceExhausted, "TOO_MANY_CONSUMER_GROUPS"),
    }
}

/// Submits one command and waits for what came of it.
pub(crate) async fn run(log: &Log, command: Command) -> Result<Outcome, Failure> {
    run_at(log, command, Durability::Synced).await
}

/// The same, waiting only until the command has reached a level.
pub(crate) async fn run_at(
    log: &Log,
    command: Command,
    durability: Durability,
) -> Result<Outcome, Failure> {
    let submitted = log.submit_at(vec![command], durability, log.aftermath());
    let mut outcomes = submitted?.await?;
    match outcomes.pop() {
        Some(Outcome::Refused(refusal)) => Err(refusal.into()),
        Some(outcome) => Ok(outcome),
        None => Err(unexpected(None)),
    }
}

/// The log answered with something that this command cannot lead to.
pub(crate) fn unexpected(outcome: Option<&Outcome>) -> Failure {
    Failure::new(
        Code::Internal,
        "UNEXPECTED_OUTCOME",
        format!("the log answered {outcome:?}"),
    )
}
