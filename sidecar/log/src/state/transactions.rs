//! Half-message transactions: those that wait for their verdict, and the verdicts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use outrigger_core::half_message::{HalfMessage, State, Verdict};

use super::overlay::Overlay;
use crate::command::{Destination, TransactionId};
use crate::place::Place;

/// Names of producer groups kept for sharing before unused ones are let go.
const GROUP_NAMES_MAX: usize = 4_096;

/// Most audit entries of one transaction; beyond it the oldest go.
pub(crate) const AUDIT_ENTRIES_MAX: usize = 64;

/// What a person did to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Decided it.
    Decided(Verdict),
    /// Took it back into check-back.
    Resumed,
}

impl fmt::Display for AuditAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Decided(Verdict::Commit) => "committed",
            Self::Decided(Verdict::Rollback) => "rolled back",
            Self::Resumed => "resumed",
        })
    }
}

/// One act of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub action: AuditAction,
    /// Why, in the person's words.
    pub reason: String,
}

/// A message of a transaction, as Prepare stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) destination: Destination,
    pub(crate) key_hash: u64,
    pub(crate) tag_hash: u32,
    pub(crate) deliver_at_ms: u64,
    pub(crate) from_fence: bool,
    pub(crate) place: Place,
    pub(crate) length: u32,
}

/// A transaction that waits for its verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pending {
    pub(crate) sequence: u64,
    pub(crate) machine: HalfMessage,
    pub(crate) producer_group: Arc<str>,
    pub(crate) prepared_at_ms: u64,
    pub(crate) messages: Box<[StoredMessage]>,
    pub(crate) audit: Vec<AuditEntry>,
}

impl Pending {
    /// Messages that may have to wait after the commit.
    pub(crate) fn delayed_messages(&self) -> u64 {
        let here = self
            .messages
            .iter()
            .filter(|one| !one.destination.is_there());
        here.filter(|one| one.deliver_at_ms != 0).count() as u64
    }

    /// Messages that have to wait for another data group after the commit.
    pub(crate) fn outgoing_messages(&self) -> u64 {
        let there = self
            .messages
            .iter()
            .filter(|one| one.destination.is_there());
        there.count() as u64
    }
}

/// A transaction that has its verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) machine: HalfMessage,
    pub(crate) producer_group: Arc<str>,
    pub(crate) prepared_at_ms: u64,
    pub(crate) resolved_at_ms: u64,
    /// Not answerable any more from this instant on.
    pub(crate) expires_at_ms: u64,
    /// The entry of the log that brought the verdict.
    pub(crate) index: u64,
    pub(crate) audit: Vec<AuditEntry>,
}

/// When a verdict came, and how long it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedAt {
    pub(crate) index: u64,
    pub(crate) stamp_ms: u64,
    pub(crate) expires_at_ms: u64,
}

/// What a checkpoint writes about transactions.
#[derive(Debug)]
pub(crate) struct TransactionChanges {
    /// New or changed since the last checkpoint, and still waiting.
    pub(crate) pending: Vec<(TransactionId, Arc<Pending>)>,
    /// Sequences that an earlier checkpoint may hold and that no longer wait.
    pub(crate) gone: Vec<u64>,
    pub(crate) resolved: Arc<HashMap<TransactionId, Resolved>>,
}

/// All transactions that are not only on disk.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pending: HashMap<TransactionId, Arc<Pending>>,
    /// The same in the order of preparation.
    order: BTreeMap<u64, TransactionId>,
    parked: u64,
    next_sequence: u64,
    /// Sequences below may be on disk.
    checkpointed: u64,
    /// On disk, and changed since.
    touched: BTreeSet<u64>,
    /// On disk, and no longer waiting.
    gone: Vec<u64>,
    resolved: Overlay<TransactionId, Resolved>,
    /// No id above is on disk. Ids that begin with a time stamp are looked up on disk only
    /// when they are old.
    newest_on_disk: Option<TransactionId>,
    newest: Option<TransactionId>,
    group_names: BTreeSet<Arc<str>>,
}

impl Transactions {
    pub(crate) fn pending(&self, id: TransactionId) -> Option<&Arc<Pending>> {
        self.pending.get(&id)
    }

    /// A verdict that is not only on disk.
    pub(crate) fn resolved(&self, id: TransactionId) -> Option<&Resolved> {
        self.resolved.get(&id)
    }

    /// False when the verdict of this transaction is surely not on disk.
    pub(crate) fn may_be_on_disk(&self, id: TransactionId) -> bool {
        self.newest_on_disk.is_some_and(|newest| id <= newest)
    }

    /// Takes in a transaction that waits for its verdict from now on.
    pub(crate) fn insert(
        &mut self,
        id: TransactionId,
        machine: HalfMessage,
        producer_group: &str,
        prepared_at_ms: u64,
        messages: Box<[StoredMessage]>,
    ) {
        let pending = Pending {
            // From 1 on, so that "after 0" is all of them.
            sequence: self.next_sequence.max(1),
            machine,
            producer_group: self.group_name(producer_group),
            prepared_at_ms,
            messages,
            audit: Vec::new(),
        };
        self.restore(id, pending);
    }

    /// Puts a waiting transaction in as it was.
    pub(crate) fn restore(&mut self, id: TransactionId, pending: Pending) {
        self.next_sequence = self.next_sequence.max(pending.sequence + 1);
        self.parked += u64::from(pending.machine.state() == Some(State::Parked));
        self.order.insert(pending.sequence, id);
        self.pending.insert(id, Arc::new(pending));
    }

    /// Goes on where the checkpoint was.
    pub(crate) fn restore_counters(&mut self, next_sequence: u64, newest: Option<TransactionId>) {
        self.next_sequence = self.next_sequence.max(next_sequence);
        self.checkpointed = self.next_sequence;
        self.newest = newest;
        self.newest_on_disk = newest;
    }

    /// Changes a waiting transaction, which goes on waiting.
    pub(crate) fn change(
        &mut self,
        id: TransactionId,
        machine: HalfMessage,
        audit: Option<AuditEntry>,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let pending = Arc::make_mut(pending);
        self.parked -= u64::from(pending.machine.state() == Some(State::Parked));
        self.parked += u64::from(machine.state() == Some(State::Parked));
        pending.machine = machine;
        push_audit(&mut pending.audit, audit);
        if pending.sequence < self.checkpointed {
            self.touched.insert(pending.sequence);
        }
    }

    /// Records the verdict and hands out the messages, to be delivered or dropped.
    pub(crate) fn resolve(
        &mut self,
        id: TransactionId,
        machine: HalfMessage,
        audit: Option<AuditEntry>,
        at: ResolvedAt,
    ) -> Option<Arc<Pending>> {
        let pending = self.pending.remove(&id)?;
        self.order.remove(&pending.sequence);
        self.parked -= u64::from(pending.machine.state() == Some(State::Parked));
        if pending.sequence < self.checkpointed {
            self.touched.remove(&pending.sequence);
            self.gone.push(pending.sequence);
        }
        let mut history = pending.audit.clone();
        push_audit(&mut history, audit);
        let resolved = Resolved {
            machine,
            producer_group: Arc::clone(&pending.producer_group),
            prepared_at_ms: pending.prepared_at_ms,
            resolved_at_ms: at.stamp_ms,
            expires_at_ms: at.expires_at_ms,
            index: at.index,
            audit: history,
        };
        self.newest = self.newest.max(Some(id));
        self.resolved.insert(id, resolved);
        Some(pending)
    }

    /// Waiting transactions after `after_sequence`, in the order of preparation.
    pub(crate) fn waiting(
        &self,
        from_sequence: u64,
    ) -> impl Iterator<Item = (TransactionId, &Arc<Pending>)> {
        let order = self.order.range(from_sequence..);
        order.filter_map(|(_, &id)| self.pending.get(&id).map(|pending| (id, pending)))
    }

    /// The smallest index of an entry of the log that has the bytes of a waiting message: that
    /// of the transaction that was prepared first.
    pub(crate) fn oldest_place(&self) -> Option<u64> {
        let (_, oldest) = self.waiting(0).next()?;
        oldest.messages.iter().map(|one| one.place.index).min()
    }

    /// How many wait for their verdict, the parked ones included.
    pub(crate) fn pending_count(&self) -> u64 {
        self.pending.len() as u64
    }

    /// How many are set aside for a person.
    pub(crate) fn parked_count(&self) -> u64 {
        self.parked
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The greatest id that was ever resolved.
    pub(crate) fn newest(&self) -> Option<TransactionId> {
        self.newest
    }

    pub(crate) fn resolved_layers(&self) -> impl Iterator<Item = (&TransactionId, &Resolved)> {
        self.resolved.layers()
    }

    pub(crate) fn begin_checkpoint(&mut self) -> TransactionChanges {
        let touched = std::mem::take(&mut self.touched);
        let changed = touched.into_iter().filter_map(|sequence| {
            let id = *self.order.get(&sequence)?;
            Some((id, Arc::clone(self.pending.get(&id)?)))
        });
        let fresh = self.waiting(self.checkpointed);
        let fresh = fresh.map(|(id, pending)| (id, Arc::clone(pending)));
        let changes = TransactionChanges {
            pending: changed.chain(fresh).collect(),
            gone: std::mem::take(&mut self.gone),
            resolved: self.resolved.begin(),
        };
        self.checkpointed = self.next_sequence;
        // What this checkpoint writes may be on disk at any moment from now on.
        self.newest_on_disk = self.newest;
        changes
    }

    /// The result is to be dropped where it holds up nobody.
    pub(crate) fn end_checkpoint(&mut self) -> Option<Arc<HashMap<TransactionId, Resolved>>> {
        self.resolved.finish()
    }

    /// The checkpoint could not be written: what it took is still to be written.
    ///
    /// Anything of it may be on disk all the same, so what is looked up on disk does not
    /// become less.
    pub(crate) fn put_back(&mut self, taken: &TransactionChanges) {
        let waiting = taken.pending.iter().map(|(_, pending)| pending.sequence);
        let waiting = waiting.filter(|sequence| self.order.contains_key(sequence));
        self.touched.extend(waiting);
        self.gone.extend_from_slice(&taken.gone);
    }

    /// The same for verdicts, when whoever wrote them has let them go.
    pub(crate) fn put_back_verdicts(&mut self) {
        self.resolved.put_back();
    }

    /// How many records no checkpoint has taken yet.
    pub(crate) fn unwritten(&self) -> u64 {
        let changed = self.resolved.len() + self.touched.len() + self.gone.len();
        (self.next_sequence - self.checkpointed) + changed as u64
    }

    /// One shared name for all transactions of a group.
    pub(crate) fn group_name(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.group_names.get(name) {
            return Arc::clone(shared);
        }
        if self.group_names.len() >= GROUP_NAMES_MAX {
            self.group_names
                .retain(|shared| Arc::strong_count(shared) > 1);
        }
        let shared: Arc<str> = name.into();
        if self.group_names.len() < GROUP_NAMES_MAX {
            self.group_names.insert(Arc::clone(&shared));
        }
        shared
    }
}

fn push_audit(audit: &mut Vec<AuditEntry>, entry: Option<AuditEntry>) {
    if let Some(entry) = entry {
        if audit.len() >= AUDIT_ENTRIES_MAX {
            audit.remove(0);
        }
        audit.push(entry);
    }
}
