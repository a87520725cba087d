use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outrigger_proto::v1;
use serde::de::DeserializeOwned;

use super::Error;

/// How far a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Its actions, or tries, are being called.
    Running,
    /// TCC: every step is tried, and all are being confirmed.
    Confirming,
    /// What was done is being undone.
    Undoing,
    /// It waits for a person.
    Parked,
    /// Every step has succeeded.
    Completed,
    /// Whatever was done is undone.
    Undone,
}

impl Status {
    /// Whether nothing will happen any more, unless a saga that this one is a step of has it
    /// undone.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Self::Completed | Self::Undone => true,
            Self::Running | Self::Confirming | Self::Undoing | Self::Parked => false,
        }
    }

    /// Nothing for one that this version of the SDK does not know.
    fn from_wire(status: v1::SagaStatus) -> Option<Self> {
        match status {
            v1::SagaStatus::Unspecified => None,
            v1::SagaStatus::Running => Some(Self::Running),
            v1::SagaStatus::Confirming => Some(Self::Confirming),
            v1::SagaStatus::Undoing => Some(Self::Undoing),
            v1::SagaStatus::Parked => Some(Self::Parked),
            v1::SagaStatus::Completed => Some(Self::Completed),
            v1::SagaStatus::Undone => Some(Self::Undone),
        }
    }

    pub(super) fn to_wire(self) -> v1::SagaStatus {
        match self {
            Self::Running => v1::SagaStatus::Running,
            Self::Confirming => v1::SagaStatus::Confirming,
            Self::Undoing => v1::SagaStatus::Undoing,
            Self::Parked => v1::SagaStatus::Parked,
            Self::Completed => v1::SagaStatus::Completed,
            Self::Undone => v1::SagaStatus::Undone,
        }
    }
}

/// One saga, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Its id.
    pub saga_id: String,
    /// The name of its definition.
    pub definition: String,
    /// The version of its definition, 32 hexadecimal digits.
    pub version: String,
    /// How far it is.
    pub status: Status,
    /// Parked by a person, not because of stuck steps.
    pub parked_by_hand: bool,
    /// The steps that wait for a person.
    pub stuck_steps: Vec<String>,
    /// When its first step could begin, or can.
    pub start_at: SystemTime,
    /// When it is undone unless it has passed its point of no return.
    pub deadline_at: Option<SystemTime>,
    /// What a completed saga gives back; empty for others, and in lists.
    pub output: Bytes,
    /// Why it was undone, for people; empty otherwise.
    pub undo_cause: String,
    /// The saga and the step that this one is.
    pub parent: Option<(String, String)>,
}

impl Info {
    /// What a completed saga gives back, read from JSON.
    ///
    /// # Errors
    /// When it is no JSON of an `O`, such as that of a saga that is not completed.
    pub fn output<O: DeserializeOwned>(&self) -> Result<O, Error> {
        serde_json::from_slice(&self.output).map_err(|source| Error::Json {
            what: "output",
            saga_id: self.saga_id.clone(),
            source,
        })
    }

    pub(super) fn from_wire(from: v1::SagaInfo) -> Result<Self, Error> {
        let status = Status::from_wire(from.status()).ok_or_else(|| {
            let message = format!("saga {:?} has a status that is none", from.saga_id);
            Error::Refused(tonic::Status::internal(message).into())
        })?;
        let parent = (from.parent_saga_id, from.parent_step);
        Ok(Self {
            saga_id: from.saga_id,
            definition: from.definition,
            version: from.version,
            status,
            parked_by_hand: from.parked_by_hand,
            stuck_steps: from.stuck_steps,
            start_at: time(from.start_at_ms),
            deadline_at: (from.deadline_at_ms > 0).then(|| time(from.deadline_at_ms)),
            output: from.output,
            undo_cause: from.undo_cause,
            parent: (!parent.0.is_empty()).then_some(parent),
        })
    }
}

fn time(at_ms: u64) -> SystemTime {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Everything about one saga.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Details {
    /// In short.
    pub saga: Info,
    /// What it was started with.
    pub input: Bytes,
    /// Every step after those that it depends on.
    pub steps: Vec<super::wire::SagaStepInfo>,
    /// The latest events; older ones may be gone.
    pub history: Vec<super::wire::SagaHistoryEntry>,
}

/// Which version of a definition is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defined {
    /// Its name.
    pub name: String,
    /// The digest of its content, 32 hexadecimal digits.
    pub version: String,
    /// False: it was there already.
    pub created: bool,
}
