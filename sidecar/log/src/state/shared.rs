//! Reading the state while it changes.

use std::sync::{Arc, PoisonError, RwLock};

use outrigger_core::half_message::State;
use outrigger_core::lease::Progress;
use outrigger_core::saga::ledger;
use tokio::sync::watch;

use super::StateError;
use super::catalog::Catalog;
use super::groups::{ConsumerGroup, GroupQueue};
use super::machine::Machine;
use super::outgoing::OutgoingMessage;
use super::topics::{Topic, TopicQueues};
use super::transactions::{AuditEntry, Pending, StoredMessage};
use crate::command::{ConsumerGroupId, TopicId, TransactionId};
use crate::queue_index::{IndexEntry, IndexError};

/// A transaction as a reader finds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TransactionRecord {
    /// Place in the order of preparation, while it waits for its verdict.
    pub(crate) sequence: Option<u64>,
    pub(crate) producer_group: Arc<str>,
    pub(crate) state: State,
    pub(crate) prepared_at_ms: u64,
    pub(crate) resolved_at_ms: Option<u64>,
    pub(crate) messages: Box<[StoredMessage]>,
    pub(crate) audit: Vec<AuditEntry>,
}

impl TransactionRecord {
    fn of_pending(pending: &Pending) -> Self {
        Self {
            sequence: Some(pending.sequence),
            producer_group: Arc::clone(&pending.producer_group),
            state: pending.machine.state().unwrap_or(State::Prepared),
            prepared_at_ms: pending.prepared_at_ms,
            resolved_at_ms: None,
            messages: pending.messages.clone(),
            audit: pending.audit.clone(),
        }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) stamp_ms: u64,
    pub(crate) topics: u64,
    pub(crate) consumer_groups: u64,
    pub(crate) producers: u64,
    pub(crate) unresolved: u64,
    pub(crate) parked: u64,
    pub(crate) delayed: u64,
    pub(crate) outgoing: u64,
    pub(crate) sagas: ledger::Counts,
}

/// The state, for readers. Queues and names have locks of their own, so that consuming
/// does not wait for entries that are being applied.
pub(crate) struct Shared {
    machine: RwLock<Machine>,
    catalog: Arc<RwLock<Catalog>>,
    /// Outlives the state machine, which may be replaced.
    more_outgoing: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(
        machine: Machine,
        catalog: Arc<RwLock<Catalog>>,
        more_outgoing: watch::Sender<u64>,
    ) -> Self {
        Self {
            machine: RwLock::new(machine),
            catalog,
            more_outgoing,
        }
    }

    pub(super) fn more_outgoing(&self) -> &watch::Sender<u64> {
        &self.more_outgoing
    }

    pub(super) fn machine(&self) -> &RwLock<Machine> {
        &self.machine
    }

    pub(super) fn catalog(&self) -> &Arc<RwLock<Catalog>> {
        &self.catalog
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        read(&self.machine.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_up<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn queues(&self, topic: TopicId) -> Option<Arc<TopicQueues>> {
        self.look_up(|catalog| catalog.topic(topic).cloned())
    }

    pub(super) fn all_queues(&self) -> Vec<Arc<TopicQueues>> {
        self.look_up(|catalog| catalog.topics().to_vec())
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        let topic = |queues: &Arc<TopicQueues>| Arc::clone(&queues.topic);
        self.look_up(|catalog| catalog.topics().iter().map(topic).collect())
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        let topic = |queues: &Arc<TopicQueues>| Arc::clone(&queues.topic);
        self.look_up(|catalog| catalog.topic_named(name).map(topic))
    }

    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.queues(id).map(|queues| Arc::clone(&queues.topic))
    }

    pub(crate) fn consumer_groups(&self) -> Vec<Arc<ConsumerGroup>> {
        self.look_up(|catalog| catalog.groups().to_vec())
    }

    pub(crate) fn consumer_group(&self, name: &str) -> Option<Arc<ConsumerGroup>> {
        self.look_up(|catalog| catalog.group_named(name).cloned())
    }

    /// The oldest offset and the next one.
    pub(crate) fn queue_bounds(&self, topic: TopicId, queue: u32) -> Option<(u64, u64)> {
        let queues = self.queues(topic)?;
        let queue = queues.queues.get(queue as usize)?;
        Some((queue.first_offset(), queue.next_offset()))
    }

    /// Appends at most `max` places from `from` on.
    pub(crate) fn index(
        &self,
        topic: TopicId,
        queue: u32,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), IndexError> {
        match self.queues(topic) {
            Some(queues) => match queues.queues.get(queue as usize) {
                Some(queue) => queue.read(from, max, out),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    pub(crate) fn watch_topic(&self, topic: TopicId) -> Option<watch::Receiver<u64>> {
        self.queues(topic).map(|queues| queues.visible.subscribe())
    }

    pub(crate) fn progress(&self, group: ConsumerGroupId, topic: TopicId, queue: u32) -> Progress {
        let recorded = self.recorded_progress(group, topic, queue);
        recorded.unwrap_or_else(|| {
            let (first_offset, _) = self.queue_bounds(topic, queue).unwrap_or_default();
            Progress::starting_at(first_offset)
        })
    }

    pub(crate) fn recorded_progress(
        &self,
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
    ) -> Option<Progress> {
        let place = GroupQueue {
            group,
            topic,
            queue,
        };
        let recorded = self.read(|machine| machine.groups.progress(place).cloned());
        recorded.map(|progress| Progress::clone(&progress))
    }

    /// A transaction whose verdict is awaited, or can still be asked for.
    pub(crate) fn transaction(
        &self,
        id: TransactionId,
    ) -> Result<Option<TransactionRecord>, StateError> {
        self.read(|machine| {
            if let Some(pending) = machine.transactions.pending(id) {
                return Ok(Some(TransactionRecord::of_pending(pending)));
            }
            machine.resolved(id, u64::MAX, |resolved| TransactionRecord {
                sequence: None,
                producer_group: Arc::clone(&resolved.producer_group),
                state: resolved.machine.state().unwrap_or(State::RolledBack),
                prepared_at_ms: resolved.prepared_at_ms,
                resolved_at_ms: Some(resolved.resolved_at_ms),
                messages: Box::default(),
                audit: resolved.audit.clone(),
            })
        })
    }

    /// Transactions that wait for their verdict, in the order of preparation: after
    /// `after_sequence` and prepared before `prepared_before_ms`.
    pub(crate) fn unresolved(
        &self,
        after_sequence: u64,
        prepared_before_ms: u64,
        limit: usize,
    ) -> Vec<(TransactionId, TransactionRecord)> {
        self.read(|machine| {
            let waiting = machine
                .transactions
                .waiting(after_sequence.saturating_add(1));
            waiting
                .take_while(|(_, pending)| pending.prepared_at_ms < prepared_before_ms)
                .take(limit)
                .map(|(id, pending)| (id, TransactionRecord::of_pending(pending)))
                .collect()
        })
    }

    /// For which data groups messages wait.
    pub(crate) fn outgoing_targets(&self) -> Vec<u32> {
        self.read(|machine| machine.outgoing.targets())
    }

    /// At most `max` messages that wait for a data group, after a number, with their numbers.
    pub(crate) fn outgoing(
        &self,
        target: u32,
        after: u64,
        max: usize,
    ) -> Vec<(u64, OutgoingMessage)> {
        self.read(|machine| {
            let waiting = machine.outgoing.after(target, after).take(max);
            waiting
                .map(|(number, message)| (number, message.clone()))
                .collect()
        })
    }

    pub(crate) fn watch_outgoing(&self) -> watch::Receiver<u64> {
        self.more_outgoing.subscribe()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.read(|machine| Counts {
            stamp_ms: machine.stamp_ms,
            topics: machine.topics.len() as u64,
            consumer_groups: machine.groups.len() as u64,
            producers: machine.producers.len() as u64,
            unresolved: machine.transactions.pending_count(),
            parked: machine.transactions.parked_count(),
            delayed: machine.delayed.len() as u64,
            outgoing: machine.outgoing.len() as u64,
            sagas: machine.sagas.counts(machine.stamp_ms),
        })
    }

    /// A digest of everything that is replicated. It reads all of it, so it is for
    /// comparing replicas, not for every day.
    pub(crate) fn digest(&self) -> Result<u128, StateError> {
        self.read(Machine::digest)
    }
}

#[cfg(test)]
impl Shared {
    pub(crate) fn store(&self) -> crate::derived::Store {
        self.read(|machine| machine.store.clone())
    }

    pub(crate) fn flush_in_the_background(&self) {
        self.read(|machine| machine.store.flush_in_the_background());
    }
}
