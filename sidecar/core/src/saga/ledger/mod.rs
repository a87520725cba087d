//! All sagas of one data group: what may be asked of them, and what is answered.
//!
//! The [`Ledger`] is what [`Command`]s change. It has no clock: `now_ms` is the time of the
//! log, the same wherever the command is applied. Sagas that have ended need not be in
//! memory: whoever keeps a ledger on disk takes its [`Changes`] now and then, and finds ended
//! sagas for it when a command is about one of them.

mod act;
mod answer;
mod append;
mod changes;
mod codec;
mod command;
mod definitions;
mod ended;
mod history;
mod kept;
mod limits;
mod list;
mod own;
mod owners;
mod report;
mod start;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;

pub use answer::{Answer, Held, Refusal};
pub use changes::{Changes, Counters};
pub use command::{Command, OwnerId, Reported};
pub use definitions::Defined;
pub use kept::Kept;
pub use limits::Limits;
pub use list::{Filter, Kind, Page};
pub use view::{HistoryEntry, View};

use super::{Definition, codec::DecodeError, definition::Version, record::Status};
use definitions::Definitions;
use ended::Ended;
use owners::Owners;

/// All sagas of one data group.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: Limits,
    definitions: Definitions,
    /// Those that have not ended, or whose result is still to be delivered, or that a saga
    /// which has not ended has as its step.
    active: BTreeMap<Arc<str>, Active>,
    /// Of the others those that are not only on disk.
    ended: Ended,
    owners: Owners,
    changes: changes::Pending,
    not_ended: u64,
    parked: u64,
}

/// A saga that is always in memory.
#[derive(Debug)]
struct Active {
    kept: Arc<Kept>,
    /// It has changed since the last checkpoint.
    changed: bool,
    /// A checkpoint may have written it among the active ones.
    on_disk: bool,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sagas that have not ended.
    pub not_ended: u64,
    /// Of these, those that wait for a person.
    pub parked: u64,
    /// Sagas that have something to be done, and that nobody alive owns.
    pub orphans: u64,
    /// Owners that count as alive.
    pub owners: u64,
    /// Versions of definitions.
    pub definitions: u64,
}

impl Ledger {
    /// Without anything in it.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// From the next command on. What is there already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Carries a command out, with everything in memory.
    pub fn apply(&mut self, now_ms: u64, command: Command) -> Answer {
        let ended = match command.saga() {
            Some(id) if !self.active.contains_key(id) => self.ended.get(now_ms, id).flatten(),
            Some(_) | None => None,
        };
        self.carry_out(now_ms, command, ended)
    }

    /// Carries a command out. `on_disk` is asked for at most one saga, which is not in memory:
    /// for [`Kept::encode`] of it as the last [`Changes::ended`] had it.
    ///
    /// # Errors
    /// When `on_disk` fails, or what it gives cannot be read. Nothing has changed then.
    pub fn apply_with<E: From<DecodeError>>(
        &mut self,
        now_ms: u64,
        command: Command,
        on_disk: impl FnOnce(&str) -> Result<Option<Bytes>, E>,
    ) -> Result<Answer, E> {
        let ended = match command.saga() {
            Some(id) if !self.active.contains_key(id) => self.find_ended(now_ms, id, on_disk)?,
            Some(_) | None => None,
        };
        Ok(self.carry_out(now_ms, command, ended))
    }

    fn find_ended<E: From<DecodeError>>(
        &self,
        now_ms: u64,
        id: &str,
        on_disk: impl FnOnce(&str) -> Result<Option<Bytes>, E>,
    ) -> Result<Option<Arc<Kept>>, E> {
        if let Some(found) = self.ended.get(now_ms, id) {
            return Ok(found);
        }
        let Some(bytes) = on_disk(id)? else {
            return Ok(None);
        };
        let kept = self.decode(bytes)?;
        Ok((!kept.has_expired(now_ms)).then(|| Arc::new(kept)))
    }

    /// Reads [`Kept::encode`].
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn decode(&self, bytes: Bytes) -> Result<Kept, DecodeError> {
        let find = |name: &str, version| self.definitions.get(name, version).cloned();
        Kept::decode(find, bytes)
    }

    fn carry_out(&mut self, now_ms: u64, command: Command, ended: Option<Arc<Kept>>) -> Answer {
        let answer = match command {
            Command::Define { encoded } => {
                let limit = self.limits.definitions_max;
                self.definitions.define(now_ms, encoded, limit)
            }
            Command::Start { start, owner } => self.start(now_ms, start, owner, ended.as_ref()),
            Command::Append {
                saga,
                epoch,
                after,
                events,
            } => self.append(now_ms, &saga, epoch, after, &events, ended),
            Command::Act { saga, act, note } => self.act(now_ms, &saga, act, note, ended),
            Command::Report {
                saga,
                step,
                phase,
                outcome,
            } => self.report(now_ms, saga, step, phase, outcome, ended),
            Command::Own {
                owner,
                lease_ms,
                take_max,
                heard,
            } => self.own(now_ms, owner, lease_ms, take_max, heard),
        };
        answer.unwrap_or_else(Answer::Refused)
    }

    /// One definition; the latest one unless a version is given.
    #[must_use]
    pub fn definition(&self, name: &str, version: Option<Version>) -> Option<&Arc<Definition>> {
        match version {
            Some(version) => self.definitions.get(name, version),
            None => self.definitions.latest(name),
        }
    }

    /// All versions of the definition with this name, or the latest version of every one, in
    /// order.
    #[must_use]
    pub fn definitions(&self, name: Option<&str>) -> Vec<Defined> {
        self.definitions.list(name)
    }

    /// How much there is at a time.
    #[must_use]
    pub fn counts(&self, now_ms: u64) -> Counts {
        Counts {
            not_ended: self.not_ended,
            parked: self.parked,
            orphans: self.owners.orphans(now_ms),
            owners: self.owners.alive_count(now_ms),
            definitions: self.definitions.count(),
        }
    }

    /// The saga as it is, wherever it is in memory.
    fn known<'a>(&'a self, id: &str, ended: Option<&'a Arc<Kept>>) -> Result<&'a Kept, Refusal> {
        let active = self.active.get(id).map(|active| &active.kept);
        let known = active.or(ended).map(AsRef::as_ref);
        known.ok_or_else(|| Refusal::UnknownSaga { saga: id.into() })
    }

    /// Takes in a saga that was not there before.
    fn enter(&mut self, kept: Kept) {
        let id: Arc<str> = kept.id().into();
        self.tally(None, Some(kept.record.status()));
        self.owners.join(Arc::clone(&id), kept.tenure);
        self.insert(id, Arc::new(kept));
    }

    /// Puts a saga among the active ones.
    fn insert(&mut self, id: Arc<str>, kept: Arc<Kept>) {
        self.ended.forget(&id);
        let active = Active {
            kept,
            changed: true,
            on_disk: self.changes.enters(&id),
        };
        self.active.insert(id, active);
    }

    /// Changes a saga that there is; nothing has changed after an error.
    fn change(
        &mut self,
        now_ms: u64,
        id: &str,
        ended: Option<Arc<Kept>>,
        change: impl FnOnce(&mut Kept) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if let Some(mut kept) = ended {
            // It comes back from those that have ended.
            let changed = Arc::make_mut(&mut kept);
            let before = Moment::of(changed);
            change(changed)?;
            changed.expires_at_ms = None;
            let id: Arc<str> = id.into();
            self.changes.reopens(&id);
            self.insert(Arc::clone(&id), kept);
            self.settle(now_ms, &id, before);
            return Ok(());
        }
        let unknown = || Refusal::UnknownSaga { saga: id.into() };
        let (id, _) = self.active.get_key_value(id).ok_or_else(unknown)?;
        let id = Arc::clone(id);
        let active = self.active.get_mut(&id).ok_or_else(unknown)?;
        let kept = Arc::make_mut(&mut active.kept);
        let before = Moment::of(kept);
        change(kept)?;
        if !std::mem::replace(&mut active.changed, true) {
            self.changes.changes(&id);
        }
        self.settle(now_ms, &id, before);
        Ok(())
    }

    /// Puts an active saga, which has just changed, where it belongs.
    fn settle(&mut self, now_ms: u64, id: &Arc<str>, before: Moment) {
        let Some(active) = self.active.get_mut(id) else {
            return;
        };
        let after = Moment::of(&active.kept);
        if before == after {
            return;
        }
        let kept = Arc::make_mut(&mut active.kept);
        kept.ended_at_ms = match kept.has_ended() {
            true => kept.ended_at_ms.or(Some(now_ms)),
            false => None,
        };
        match (before.finished, after.finished) {
            (false, true) => {
                let tenure = kept.tenure.take();
                kept.noticed = false;
                kept.unseen = Vec::new();
                self.owners.leave(id, tenure);
            }
            (true, false) => self.owners.join(Arc::clone(id), kept.tenure),
            (false, false) | (true, true) => {}
        }
        self.tally(Some(before.status), Some(after.status));
        if after.finished {
            self.retire(now_ms, id);
        }
    }

    /// What has ended is forgotten some time after everything that it is a part of has ended.
    fn retire(&mut self, now_ms: u64, id: &Arc<str>) {
        if self.is_part(id) {
            return;
        }
        self.expire(now_ms, id);
        let prefix = format!("{id}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let parts = self.active.range::<str, _>(from);
        let parts = parts.take_while(|(id, _)| id.starts_with(&prefix));
        let parts = parts.filter(|(_, part)| part.kept.record.is_finished());
        // A saga comes before those that are steps of it.
        let parts: Vec<_> = parts.map(|(id, _)| Arc::clone(id)).collect();
        for part in parts {
            if !self.is_part(&part) {
                self.expire(now_ms, &part);
            }
        }
    }

    /// A saga that it is a step of, directly or not, is among the active ones.
    fn is_part(&self, id: &str) -> bool {
        let mut above = id.match_indices('/').filter_map(|(at, _)| id.get(..at));
        above.any(|above| self.active.contains_key(above))
    }

    fn expire(&mut self, now_ms: u64, id: &Arc<str>) {
        let Some(mut active) = self.active.remove(id) else {
            return;
        };
        let expires_at_ms = now_ms.saturating_add(self.limits.retention_ms);
        Arc::make_mut(&mut active.kept).expires_at_ms = Some(expires_at_ms);
        self.changes.leaves(id, active.on_disk);
        self.ended.insert(Arc::clone(id), active.kept);
    }

    fn tally(&mut self, before: Option<Status>, after: Option<Status>) {
        let of = |status: Option<Status>| match status {
            Some(Status::Working(_)) => (1, 0),
            Some(Status::Parked { .. }) => (1, 1),
            Some(Status::Completed | Status::Undone) | None => (0, 0),
        };
        let ((not_ended, parked), (more_not_ended, more_parked)) = (of(before), of(after));
        self.not_ended = (self.not_ended + more_not_ended).saturating_sub(not_ended);
        self.parked = (self.parked + more_parked).saturating_sub(parked);
    }
}

/// What decides where a saga belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    status: Status,
    finished: bool,
}

impl Moment {
    fn of(kept: &Kept) -> Self {
        Self {
            status: kept.record.status(),
            finished: kept.record.is_finished(),
        }
    }
}
