use bytes::Bytes;
use outrigger_proto::v1;

use super::{Client, Error, Info};
use crate::{Refusal, barrier::Phase};

/// What a person does to sagas, with a name and a reason that are recorded in the saga's
/// history and in the audit log. Made by [`Client::by_hand`].
///
/// None of these calls is repeated: [`Error::Unavailable`] says that it may have happened, and
/// [`Client::get`] tells.
#[derive(Debug, Clone)]
#[must_use = "do something"]
pub struct ByHand {
    client: Client,
    by: String,
    reason: String,
}

impl ByHand {
    pub(super) fn new(client: Client, by: String, reason: String) -> Self {
        Self { client, by, reason }
    }

    /// Calls a stuck step again, with all its attempts before it; one that waits for its next
    /// attempt is called at once. A saga that was parked because of stuck steps goes on.
    ///
    /// # Errors
    /// See [`Error`], as for all that follow.
    pub async fn retry(
        &self,
        saga_id: impl Into<String>,
        step: impl Into<String>,
    ) -> Result<Info, Error> {
        let request = v1::RetrySagaStepRequest {
            saga_id: saga_id.into(),
            step: step.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
        };
        answered(self.client.grpc.clone().retry(request).await)
    }

    /// Takes a step as done by hand: a stuck one, or while the saga is parked any whose turn it
    /// is. The output stands in for that of the action; it is not used in the other phases.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn skip(
        &self,
        saga_id: impl Into<String>,
        step: impl Into<String>,
        output: impl Into<Bytes>,
    ) -> Result<Info, Error> {
        let request = v1::SkipSagaStepRequest {
            saga_id: saga_id.into(),
            step: step.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            output: output.into(),
        };
        answered(self.client.grpc.clone().skip(request).await)
    }

    /// Calls a step with another input from now on, in this phase or, without one, in that
    /// which the saga is in. It must be stuck, or the saga parked. Calls that have been sent
    /// keep their idempotency key: a participant that has done them already does not do them
    /// again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn edit_input(
        &self,
        saga_id: impl Into<String>,
        step: impl Into<String>,
        phase: Option<Phase>,
        input: impl Into<Bytes>,
    ) -> Result<Info, Error> {
        let phase = phase.map_or(v1::SagaPhase::Unspecified, super::to_wire);
        let request = v1::EditSagaInputRequest {
            saga_id: saga_id.into(),
            step: step.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            phase: phase.into(),
            input: input.into(),
        };
        answered(self.client.grpc.clone().edit_input(request).await)
    }

    /// Undoes everything. Not possible after the pivot, while nobody knows the outcome of the
    /// pivot, and in TCC when confirming has begun.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn undo(&self, saga_id: impl Into<String>) -> Result<Info, Error> {
        let request = v1::UndoSagaRequest {
            saga_id: saga_id.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
        };
        answered(self.client.grpc.clone().undo(request).await)
    }

    /// Sets a saga aside: no call begins. Answers of calls under way are still recorded.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn park(&self, saga_id: impl Into<String>) -> Result<Info, Error> {
        let request = v1::ParkSagaRequest {
            saga_id: saga_id.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
        };
        answered(self.client.grpc.clone().park(request).await)
    }

    /// Lets a parked saga go on; stuck steps are called again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume(&self, saga_id: impl Into<String>) -> Result<Info, Error> {
        let request = v1::ResumeSagaRequest {
            saga_id: saga_id.into(),
            by: self.by.clone(),
            reason: self.reason.clone(),
        };
        answered(self.client.grpc.clone().resume(request).await)
    }
}

fn answered(answer: Result<tonic::Response<v1::SagaInfo>, tonic::Status>) -> Result<Info, Error> {
    let answer = answer.map_err(Refusal::from)?;
    Info::from_wire(answer.into_inner())
}
