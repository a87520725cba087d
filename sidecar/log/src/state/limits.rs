//! How much the state machine holds. Every replica must have the same limits, since they
//! decide what is refused and what is forgotten.

/// Bounds of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Transactions that wait for their verdict.
    pub(crate) unresolved_transactions_max: u64,
    /// How long the verdict of a resolved transaction can still be asked for.
    pub(crate) resolved_retention_ms: u64,
    /// Messages that wait until they are due, those of unresolved transactions included.
    pub(crate) delayed_messages_max: u64,
    /// Producers whose sequence numbers are remembered.
    pub(crate) producers_max: u64,
    /// A producer that sent nothing for so long is forgotten.
    pub(crate) producer_idle_ms: u64,
    /// Topics, dead-letter topics included.
    pub(crate) topics_max: u32,
    /// Consumer groups.
    pub(crate) consumer_groups_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unresolved_transactions_max: 1_000_000,
            resolved_retention_ms: 24 * 60 * 60 * 1_000,
            delayed_messages_max: 1_000_000,
            producers_max: 100_000,
            producer_idle_ms: 7 * 24 * 60 * 60 * 1_000,
            topics_max: 100_000,
            consumer_groups_max: 10_000,
        }
    }
}
