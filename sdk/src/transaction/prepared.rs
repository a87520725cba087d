use bytes::Bytes;
use outrigger_proto::v1;
use uuid::Uuid;

use super::Step;
use crate::{
    Producer, Verdict,
    publish::{self, Pending, ResolveReceipt},
};

/// The sidecar has recorded the opposite verdict.
const CONTRADICTION: &str = "TRANSACTION_CONTRADICTION";

/// A transaction whose messages are durable and invisible until it is resolved.
///
/// For those who run their local transaction themselves; see
/// [`fence::insert`](crate::fence::insert). Dropping it resolves nothing: a check-back
/// finds out how the local transaction ended.
#[derive(Debug)]
pub struct Prepared {
    producer: Producer,
    id: Uuid,
}

impl Prepared {
    pub(super) fn new(producer: Producer, id: Uuid) -> Self {
        Self { producer, id }
    }

    /// The id of the transaction.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The producer group, which goes into the fence row.
    pub fn producer_group(&self) -> &str {
        self.producer.producer_group()
    }

    /// Makes the messages visible. To be called **after** the local transaction committed;
    /// an error is no reason to worry then, because a check-back does the rest.
    pub async fn commit(self) -> Result<ResolveReceipt, publish::Error> {
        self.resolve(Verdict::Commit, None).await
    }

    /// As [`Prepared::commit`], with the body for the messages made with
    /// [`Message::from_fence`](crate::Message::from_fence): the same that
    /// [`fence::set_payload`](crate::fence::set_payload) wrote.
    pub async fn commit_with(
        self,
        payload: impl Into<Bytes>,
    ) -> Result<ResolveReceipt, publish::Error> {
        self.resolve(Verdict::Commit, Some(payload.into())).await
    }

    /// Drops the messages. To be called when the local transaction has been rolled back and
    /// can not commit any more.
    pub async fn rollback(self) -> Result<ResolveReceipt, publish::Error> {
        self.resolve(Verdict::Rollback, None).await
    }

    async fn resolve(
        self,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> Result<ResolveReceipt, publish::Error> {
        let receipt = self.begin_resolve(verdict, payload).await?.await?;
        self.producer.observe(&Step::Resolved {
            id: self.id,
            verdict,
        });
        Ok(receipt)
    }

    async fn begin_resolve(
        &self,
        verdict: Verdict,
        payload: Option<Bytes>,
    ) -> Result<Pending<ResolveReceipt>, publish::Error> {
        self.producer
            .client()
            .publisher()
            .resolve(v1::ResolveRequest {
                transaction_id: self.id.to_string(),
                verdict: v1::Verdict::from(verdict).into(),
                payload,
            })
            .await
    }

    /// Resolves without ever failing the caller: the local transaction has ended, so the
    /// worst that can happen is that a check-back does the same a little later.
    pub(super) async fn settle(&self, verdict: Verdict, payload: Option<Bytes>) {
        let resolved = async { self.begin_resolve(verdict, payload).await?.await };
        match tokio::time::timeout(self.producer.resolve_wait_limit(), resolved).await {
            Ok(Ok(_)) => self.producer.observe(&Step::Resolved {
                id: self.id,
                verdict,
            }),
            Ok(Err(error)) if error.reason() == Some(CONTRADICTION) => {
                // Somebody decided by hand, or a check-back was answered without the fence.
                tracing::error!(id = %self.id, ?verdict, %error, "the opposite was decided");
            }
            Ok(Err(error)) => {
                tracing::debug!(id = %self.id, %error, "Resolve failed, left to check-back");
            }
            Err(_) => {
                tracing::debug!(id = %self.id, "Resolve goes on in the background");
            }
        }
    }
}
