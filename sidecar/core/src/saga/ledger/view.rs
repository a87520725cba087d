use bytes::Bytes;

use super::{Kept, Ledger, OwnerId};
use crate::saga::{Record, codec::DecodeError, event::Event};

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

impl Ledger {
    /// One saga, with everything in memory.
    #[must_use]
    pub fn view(&self, now_ms: u64, id: &str) -> Option<View> {
        if let Some(active) = self.active.get(id) {
            return Some(self.view_of(&active.kept));
        }
        let ended = self.ended.get(now_ms, id).flatten()?;
        Some(self.view_of(&ended))
    }

    /// One saga; `on_disk` is asked as with [`Ledger::apply_with`].
    ///
    /// # Errors
    /// When `on_disk` fails, or what it gives cannot be read.
    pub fn view_with<E: From<DecodeError>>(
        &self,
        now_ms: u64,
        id: &str,
        on_disk: impl FnOnce(&str) -> Result<Option<Bytes>, E>,
    ) -> Result<Option<View>, E> {
        if let Some(active) = self.active.get(id) {
            return Ok(Some(self.view_of(&active.kept)));
        }
        let ended = self.find_ended(now_ms, id, on_disk)?;
        Ok(ended.map(|kept| self.view_of(&kept)))
    }

    fn view_of(&self, kept: &Kept) -> View {
        View {
            record: kept.record.clone(),
            epoch: kept.epoch,
            owner: kept.tenure.and_then(|tenure| self.owners.owner(tenure)),
            unseen: kept.unseen.clone(),
            history: kept.entries(),
            ended_at_ms: kept.ended_at_ms,
        }
    }
}
