use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Active, Kept, Ledger, Moment, ended::Layer};
use crate::saga::{codec::DecodeError, definition::Version};

/// Everything that has changed since the last checkpoint began, to be written to a disk all
/// or none. It shares what it can with the ledger.
#[derive(Debug)]
pub struct Changes {
    /// Definitions, to be read by [`Ledger::restore_definition`].
    pub definitions: Vec<(String, Version, Vec<u8>)>,
    /// Owners by their number, to be read by [`Ledger::restore_owner`]; those without
    /// anything are gone.
    pub owners: Vec<(u64, Option<Vec<u8>>)>,
    /// To be given to [`Ledger::restore_counters`].
    pub counters: Counters,
    /// Sagas that stay in memory, to be read by [`Ledger::restore`].
    pub active: Vec<(Arc<str>, Arc<Kept>)>,
    /// Sagas that are to be taken away from among those.
    pub left: Vec<Arc<str>>,
    /// Sagas that are not needed in memory any more when this is written.
    pub ended: Arc<BTreeMap<Arc<str>, Arc<Kept>>>,
    /// Sagas that are to be taken away from among those.
    pub reopened: Vec<Arc<str>>,
}

/// Where the ledger goes on counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of the owners.
    pub last_tenure: u64,
    /// Of what owners are told.
    pub last_notice: u64,
}

/// Which sagas have changed.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// May name one twice, or one that is not active any more.
    changed: Vec<Arc<str>>,
    left: BTreeSet<Arc<str>>,
    reopened: BTreeSet<Arc<str>>,
}

impl Pending {
    /// An active saga has changed for the first time.
    pub(super) fn changes(&mut self, id: &Arc<str>) {
        self.changed.push(Arc::clone(id));
    }

    /// A saga is active from now on. Answers whether it may be on disk among the active ones.
    pub(super) fn enters(&mut self, id: &Arc<str>) -> bool {
        self.changed.push(Arc::clone(id));
        self.left.remove(id)
    }

    /// A saga is not active any more.
    pub(super) fn leaves(&mut self, id: &Arc<str>, on_disk: bool) {
        self.reopened.remove(id);
        if on_disk {
            self.left.insert(Arc::clone(id));
        }
    }

    /// A saga is not among the ended ones any more.
    pub(super) fn reopens(&mut self, id: &Arc<str>) {
        self.reopened.insert(Arc::clone(id));
    }
}

/// For checkpoints.
impl Ledger {
    /// How many records no checkpoint has taken yet. They are in memory only.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        let changes = &self.changes;
        let sagas = changes.changed.len() + changes.left.len() + changes.reopened.len();
        let rest = self.ended.len() + self.definitions.changed() + self.owners.changed();
        u64::try_from(sagas + rest).unwrap_or(u64::MAX)
    }

    /// Takes out what has changed. To be followed by [`Ledger::end_changes`] or
    /// [`Ledger::put_back`].
    pub fn begin_changes(&mut self) -> Changes {
        let Pending {
            changed,
            left,
            reopened,
        } = std::mem::take(&mut self.changes);
        let active = changed.into_iter().filter_map(|id| {
            let active = self.active.get_mut(&id)?;
            active.on_disk = true;
            let changed = std::mem::take(&mut active.changed);
            changed.then(|| (id, Arc::clone(&active.kept)))
        });
        Changes {
            active: active.collect(),
            definitions: self.definitions.take_changed(),
            owners: self.owners.take_changed(),
            counters: self.owners.counters(),
            left: left.into_iter().collect(),
            ended: self.ended.begin(),
            reopened: reopened.into_iter().collect(),
        }
    }

    /// The changes are written: what has ended need not be in memory any more. The result is
    /// to be dropped where it holds up nobody.
    pub fn end_changes(&mut self) -> Option<Arc<BTreeMap<Arc<str>, Arc<Kept>>>> {
        self.ended.finish()
    }

    /// The changes could not be written, as far as anybody knows: they belong to the next
    /// ones, except where there are newer ones.
    pub fn put_back(&mut self, taken: &Changes) {
        for (id, _) in &taken.active {
            if let Some(active) = self.active.get_mut(id)
                && !std::mem::replace(&mut active.changed, true)
            {
                self.changes.changes(id);
            }
        }
        for id in &taken.left {
            match self.active.get_mut(id) {
                Some(active) => active.on_disk = true,
                None => {
                    self.changes.left.insert(Arc::clone(id));
                }
            }
        }
        let reopened = taken.reopened.iter();
        let reopened = reopened.filter(|id| self.active.contains_key(*id));
        self.changes.reopened.extend(reopened.cloned());
        self.ended.put_back(|id| !self.active.contains_key(id));
        self.definitions.put_back(&taken.definitions);
        self.owners.put_back(&taken.owners);
    }

    /// Puts a definition in as it was. Definitions come before everything else.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn restore_definition(&mut self, bytes: Bytes) -> Result<(), DecodeError> {
        self.definitions.restore(bytes)
    }

    /// Puts an owner in as it was. Owners come before sagas.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn restore_owner(&mut self, number: u64, bytes: Bytes) -> Result<(), DecodeError> {
        self.owners.restore(number, bytes)
    }

    /// Goes on counting where [`Changes::counters`] were.
    pub fn restore_counters(&mut self, counters: Counters) {
        self.owners.restore_counters(counters);
    }

    /// Puts an active saga in as it was.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn restore(&mut self, bytes: Bytes) -> Result<(), DecodeError> {
        let kept = self.decode(bytes)?;
        let id: Arc<str> = kept.id().into();
        let Moment { status, finished } = Moment::of(&kept);
        self.tally(None, Some(status));
        if !finished {
            self.owners.restore_saga(&id, kept.tenure);
        }
        let active = Active {
            kept: Arc::new(kept),
            changed: false,
            on_disk: true,
        };
        self.active.insert(id, active);
        Ok(())
    }

    /// Everything was put in.
    pub fn restored(&mut self) {
        self.owners.restored();
    }

    /// Everything that is in memory, in a form that is the same wherever the same commands
    /// were carried out, but for what has ended: that comes with [`Ledger::ended`].
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let Counters {
            last_tenure,
            last_notice,
        } = self.owners.counters();
        each(&last_tenure.to_le_bytes(), &last_notice.to_le_bytes());
        for (name, version, bytes) in self.definitions.all() {
            let key = [name.as_bytes(), &version.0.to_le_bytes()].concat();
            each(&key, &bytes);
        }
        for (number, bytes) in self.owners.all() {
            each(&number.to_le_bytes(), &bytes);
        }
        for (id, active) in &self.active {
            each(id.as_bytes(), &active.kept.encode());
        }
    }

    /// Sagas that have ended and are still in memory; of two with one id the first counts.
    pub fn ended(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Kept>)> {
        self.ended_layers().flatten()
    }

    /// True when a saga is among those that stay in memory.
    #[must_use]
    pub fn is_active(&self, id: &str) -> bool {
        self.active.contains_key(id)
    }

    fn ended_layers(&self) -> impl Iterator<Item = &Layer> {
        self.ended.layers().into_iter().flatten()
    }
}
