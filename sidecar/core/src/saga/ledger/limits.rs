/// How many sagas one data group has, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sagas that have not ended. One that is a step of another one counts, but is not
    /// refused for it: the other one was let in.
    pub sagas_max: u64,
    /// Versions of definitions.
    pub definitions_max: u64,
    /// Events of one saga. Beyond it no call is repeated, and people do at most
    /// [`SAGA_LAST_ACTS_COUNT_MAX`](crate::limits::SAGA_LAST_ACTS_COUNT_MAX) things more;
    /// everything else is bounded by the definition, so that the saga can still end.
    pub events_max: u64,
    /// What others may do to one saga before its owner has seen it.
    pub unseen_acts_max: u32,
    /// For how long sagas are kept after they have ended.
    pub retention_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sagas_max: 1_000_000,
            definitions_max: 2_000,
            events_max: 1_000_000,
            unseen_acts_max: 64,
            retention_ms: 7 * 24 * 60 * 60 * 1_000,
        }
    }
}
