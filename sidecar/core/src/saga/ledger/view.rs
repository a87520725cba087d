use super::OwnerId;
use crate::saga::{Record, event::Event};

/// One saga as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What is recorded.
    pub record: Record,
    /// The epoch of its owner; 0: it never had one.
    pub epoch: u64,
    /// Its owner, as far as it has not given it back and the saga has not ended.
    pub owner: Option<OwnerId>,
    /// The last of its recorded events: those that others recorded and that the owner has not
    /// seen yet, as far as anybody knows. An owner that records events has seen all before
    /// them.
    pub unseen: Vec<Event>,
    /// The latest of its events, oldest first.
    pub history: Vec<HistoryEntry>,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_at_ms: Option<u64>,
}

impl View {
    /// How many events the owner has seen: all that it has recorded itself, and all before.
    #[must_use]
    pub fn seen(&self) -> u64 {
        let unseen = u64::try_from(self.unseen.len()).unwrap_or(u64::MAX);
        self.record.sequence().saturating_sub(unseen)
    }
}

/// An event that is kept for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number, from 1.
    pub sequence: u64,
    /// When it was recorded, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened; outputs and inputs in it are left out.
    pub event: Event,
}
