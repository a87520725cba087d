//! Writing what changed since the last checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use outrigger_core::guard::Record;
use outrigger_core::lease::Progress;
use outrigger_core::saga::ledger;

use super::StateError;
use super::delayed::{DelayedMessage, DueKey};
use super::floor;
use super::groups::{ConsumerGroup, GroupQueue};
use super::machine::Machine;
use super::meta::Meta;
use super::outgoing::OutgoingChanges;
use super::producers::Producer;
use super::record;
use super::sagas;
use super::topics::{TopicQueues, TopicRecord};
use super::transactions::TransactionChanges;
use crate::apply;
use crate::derived::{Changes, Store, Table};
use crate::floor::NewFloor;
use crate::queue_index::Files;
use crate::raft::LogId;

/// Everything that changed since the last checkpoint, as it was after one entry. It shares
/// what it can with the running state machine.
pub(super) struct Captured {
    topics: Vec<(Arc<TopicQueues>, TopicRecord)>,
    index_entries: u64,
    groups: Vec<Arc<ConsumerGroup>>,
    progress: Vec<(GroupQueue, Arc<Progress>)>,
    producers: Vec<(u128, Option<Producer>)>,
    delayed: HashMap<DueKey, Option<DelayedMessage>>,
    outgoing: OutgoingChanges,
    /// The last number that was delivered, by source.
    incoming: BTreeMap<u32, u64>,
    transactions: TransactionChanges,
    guards: Arc<HashMap<Vec<u8>, Record>>,
    sagas: ledger::Changes,
}

impl Captured {
    /// Takes what is dirty out of the state machine.
    pub(super) fn take(machine: &mut Machine) -> Self {
        Self {
            topics: machine.topics.take_dirty(),
            index_entries: machine.topics.take_unwritten(),
            groups: machine.groups.take_dirty_groups(),
            progress: machine.groups.take_dirty_progress(),
            producers: machine.producers.take_dirty(),
            delayed: machine.delayed.take_dirty(),
            outgoing: machine.outgoing.take_dirty(),
            incoming: machine.incoming.take_dirty(),
            transactions: machine.transactions.begin_checkpoint(),
            guards: machine.guards.begin(),
            sagas: machine.sagas.begin_changes(),
        }
    }

    /// Gives everything back, under what has changed since, so that the next checkpoint
    /// takes it again.
    pub(super) fn put_back(self: Arc<Self>, machine: &mut Machine) {
        let topics = self.topics.iter().map(|(topic, _)| topic.topic.id);
        machine.topics.put_back(topics, self.index_entries);
        let groups = self.groups.iter().map(|group| group.id);
        let progress = self.progress.iter().map(|(queue, _)| *queue);
        machine.groups.put_back(groups, progress);
        let producers = self.producers.iter().map(|(id, _)| *id);
        machine.producers.put_back(producers);
        machine.delayed.put_back(&self.delayed);
        machine.outgoing.put_back(&self.outgoing);
        machine.incoming.put_back(self.incoming.keys().copied());
        machine.transactions.put_back(&self.transactions);
        machine.sagas.put_back(&self.sagas);
        // What is not held twice need not be copied when it is taken back.
        drop(self);
        machine.transactions.put_back_verdicts();
        machine.guards.put_back();
    }
}

/// A checkpoint to be written beside the running state machine.
pub(crate) struct Checkpoint {
    applied: LogId,
    meta: Meta,
    captured: Arc<Captured>,
    store: Store,
    files: Arc<Files>,
}

impl Checkpoint {
    pub(super) fn new(
        machine: &Machine,
        captured: Arc<Captured>,
        applied: LogId,
        meta: Meta,
    ) -> Self {
        Self {
            applied,
            meta,
            captured,
            store: machine.store.clone(),
            files: Arc::clone(&machine.files),
        }
    }

    /// Index first, then the records that count on it.
    fn write_all(self) -> Result<(), StateError> {
        self.flush_index()?;
        self.store.commit(self.changes(), self.meta.stamp_ms)?;
        self.remove_expired();
        Ok(())
    }

    /// What stays behind is removed by a later checkpoint, or at the next start.
    fn remove_expired(&self) {
        for (topic, record) in &self.captured.topics {
            for (queue, (first_offset, _)) in topic.queues.iter().zip(&record.offsets) {
                if let Err(error) = queue.remove_files(*first_offset) {
                    tracing::warn!(%error, "an expired file was not removed");
                }
            }
        }
    }

    /// Leaves behind what a crash in the middle can leave.
    #[cfg(test)]
    pub(super) fn write_half(self) -> Result<(), StateError> {
        self.flush_index()?;
        self.store.commit_verdicts_only(self.changes())?;
        Ok(())
    }

    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        self.put_topics_and_groups(&mut changes);
        self.put_transactions(&mut changes);
        self.put_forwarding(&mut changes);
        self.put_rest(&mut changes);
        sagas::write(&self.captured.sagas, &mut changes);
        changes.put(Table::Meta, &[], self.meta.write());
        changes
    }

    fn flush_index(&self) -> Result<(), StateError> {
        for (topic, record) in &self.captured.topics {
            for (queue, (_, next_offset)) in topic.queues.iter().zip(&record.offsets) {
                queue.flush(*next_offset)?;
            }
        }
        Ok(self.files.sync_directory()?)
    }

    fn put_topics_and_groups(&self, changes: &mut Changes) {
        for (topic, topic_record) in &self.captured.topics {
            let key = topic.topic.id.0.to_be_bytes();
            changes.put(Table::Topic, &key, record::write_topic(topic_record));
        }
        for group in &self.captured.groups {
            let key = group.id.0.to_be_bytes();
            changes.put(Table::Group, &key, record::write_group(group));
        }
        for (queue, progress) in &self.captured.progress {
            let key = record::progress_key(*queue);
            changes.put(Table::Progress, &key, progress.encode().into());
        }
    }

    fn put_transactions(&self, changes: &mut Changes) {
        for sequence in &self.captured.transactions.gone {
            changes.remove(Table::Unresolved, &sequence.to_be_bytes());
        }
        for (id, pending) in &self.captured.transactions.pending {
            let key = pending.sequence.to_be_bytes();
            changes.put(Table::Unresolved, &key, record::write_pending(*id, pending));
        }
        for (id, resolved) in self.captured.transactions.resolved.iter() {
            let key = id.0.to_be_bytes();
            changes.put_verdict(&key, record::write_resolved(resolved));
        }
    }

    fn put_forwarding(&self, changes: &mut Changes) {
        for (key, message) in &self.captured.outgoing.messages {
            let key = record::outgoing_key(*key);
            match message {
                Some(message) => {
                    changes.put(Table::Outgoing, &key, record::write_outgoing(message));
                }
                None => changes.remove(Table::Outgoing, &key),
            }
        }
        for (target, last_number) in &self.captured.outgoing.last_numbers {
            let last_number = last_number.to_be_bytes().into();
            changes.put(Table::Target, &target.to_be_bytes(), last_number);
        }
        for (source, last_number) in &self.captured.incoming {
            let last_number = last_number.to_be_bytes().into();
            changes.put(Table::Source, &source.to_be_bytes(), last_number);
        }
    }

    fn put_rest(&self, changes: &mut Changes) {
        for (id, producer) in &self.captured.producers {
            let key = id.to_be_bytes();
            match producer {
                Some(producer) => {
                    changes.put(Table::Producer, &key, record::write_producer(producer));
                }
                None => changes.remove(Table::Producer, &key),
            }
        }
        for (key, message) in &self.captured.delayed {
            let key = record::delayed_key(*key);
            match message {
                Some(message) => changes.put(Table::Delayed, &key, record::write_delayed(message)),
                None => changes.remove(Table::Delayed, &key),
            }
        }
        for (key, guard) in self.captured.guards.iter() {
            changes.put(Table::Guard, key, record::write_guard(guard));
        }
    }
}

impl apply::Checkpoint for Checkpoint {
    fn applied(&self) -> LogId {
        self.applied
    }

    fn write(self, floor: Option<NewFloor>) -> io::Result<apply::Written> {
        let (store, meta) = (self.store.clone(), self.meta.clone());
        self.write_all().map_err(io::Error::other)?;
        let written = apply::Written { floor: meta.floor };
        if let Some(new) = floor
            && let Err(error) = floor::export(&store, &meta, new)
        {
            // The log is kept for longer, and the next one may succeed.
            tracing::warn!(%error, "a floor checkpoint could not be written");
        }
        Ok(written)
    }
}
