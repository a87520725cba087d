use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::Disk;
use super::group::EntryId;
use super::preparer::Preparer;
use super::state::{Plan, State};
use super::tail_cache::TailCache;
use super::{Position, WalOptions, lock};

/// Called once when a write or a sync has failed. The real one does not return.
pub(crate) type OnFatal = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// What the next sync covers, by group.
#[derive(Debug, Default)]
pub(super) struct Covered {
    /// The last entries.
    pub(super) last: BTreeMap<u32, EntryId>,
    /// The indexes up to which entries were purged.
    pub(super) purged: BTreeMap<u32, u64>,
}

/// What the handles and the threads of the log have in common.
pub(super) struct Shared {
    pub(super) options: WalOptions,
    pub(super) directory: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) state: Mutex<State>,
    pub(super) work: Condvar,
    /// Locked after the state, where both are.
    pub(super) tail: Mutex<TailCache>,
    pub(super) preparer: Preparer,
    pub(super) on_fatal: OnFatal,
    /// Damage that a read finds is fatal.
    pub(super) damage_is_fatal: AtomicBool,
}

impl Shared {
    /// Decides on the segment with this sequence number and has it prepared.
    pub(super) fn following(&self, sequence: u32) -> Plan {
        let bytes = self.options.segment_bytes_of(sequence);
        let plan = Plan { sequence, bytes };
        self.preparer.order(plan);
        plan
    }

    /// Gives the waiting commit positions their places.
    pub(super) fn push_lazy(&self, state: &mut State) {
        if let Err(error) = state.push_lazy(&mut |sequence| self.following(sequence)) {
            tracing::warn!(%error, "a commit position was not written");
        }
    }

    /// A sync has covered everything before this position.
    pub(super) fn synced(&self, end: Position, covered: &Covered) {
        let mut state = lock(&self.state);
        for (group, id) in &covered.last {
            if let Some(group) = state.index.groups.get_mut(group) {
                group.durable = Some(*id).min(group.last);
            }
        }
        for (group, index) in &covered.purged {
            if let Some(group) = state.index.groups.get_mut(group) {
                group.durably_purged = group.durably_purged.max(Some(*index));
            }
        }
        let (used, of) = (state.next_offset, state.active.bytes);
        drop(state);
        self.preparer.set_used(used, of);
        lock(&self.tail).written(end);
    }

    /// The table of a full segment can be read from its file now.
    pub(super) fn seal_written(&self, segment: u32) {
        if let Some(sealed) = lock(&self.state).index.sealed.get_mut(&segment) {
            sealed.unwritten = None;
        }
    }

    /// A read has found a record that is not what was written.
    pub(super) fn damaged(&self, segment: u32, offset: u32) {
        if !self.damage_is_fatal.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = super::damage::note(&self.directory, segment, offset) {
            tracing::error!(%error, segment, offset, "damage could not be noted");
        }
        let error = super::ReadError::Corrupt { segment, offset };
        self.fatal("the log is damaged", &error.into());
    }

    pub(super) fn fatal(&self, what: &'static str, error: &io::Error) {
        tracing::error!(%error, "{what}");
        (self.on_fatal)(error);
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.work
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true when the time ran out.
    pub(super) fn wait_at_most<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let (state, result) = self
            .work
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner);
        (state, result.timed_out())
    }
}
