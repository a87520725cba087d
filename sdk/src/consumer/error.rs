use crate::Refusal;

/// Why a consumer ended other than by being stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sidecar refuses for good: an illegal name, an unknown topic, missing rights.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// It was stopped, but not every ack was confirmed in time. The messages may be
    /// delivered again.
    #[error("{unconfirmed} acks were not confirmed within {limit_ms} ms")]
    AcksUnconfirmed {
        /// How many.
        unconfirmed: usize,
        /// How long it was waited.
        limit_ms: u64,
    },
    /// Nothing to consume was named.
    #[error("there is no subscription")]
    NoSubscription,
}
