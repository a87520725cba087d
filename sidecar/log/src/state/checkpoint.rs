//! Writing what changed since the last checkpoint.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use outrigger_core::guard::Record;
use outrigger_core::lease::Progress;

use super::StateError;
use super::delayed::{DelayedMessage, DueKey};
use super::groups::{ConsumerGroup, GroupQueue};
use super::machine::Machine;
use super::meta::Meta;
use super::producers::Producer;
use super::record;
use super::topics::{TopicQueues, TopicRecord};
use super::transactions::TransactionChanges;
use crate::apply;
use crate::derived::{Changes, Store, Table};
use crate::queue_index::Files;
use crate::raft::LogId;

/// Everything that changed since the last checkpoint, as it was after one entry. It shares
/// what it can with the running state machine.
pub(crate) struct Checkpoint {
    applied: LogId,
    meta: Meta,
    topics: Vec<(Arc<TopicQueues>, TopicRecord)>,
    groups: Vec<Arc<ConsumerGroup>>,
    progress: Vec<(GroupQueue, Arc<Progress>)>,
    producers: Vec<(u128, Option<Producer>)>,
    delayed: HashMap<DueKey, Option<DelayedMessage>>,
    transactions: TransactionChanges,
    guards: Arc<HashMap<Vec<u8>, Record>>,
    store: Store,
    files: Arc<Files>,
}

impl Checkpoint {
    /// Takes what is dirty out of the state machine.
    pub(super) fn capture(machine: &mut Machine, applied: LogId, meta: Meta) -> Self {
        Self {
            applied,
            meta,
            topics: machine.topics.take_dirty(),
            groups: machine.groups.take_dirty_groups(),
            progress: machine.groups.take_dirty_progress(),
            producers: machine.producers.take_dirty(),
            delayed: machine.delayed.take_dirty(),
            transactions: machine.transactions.begin_checkpoint(),
            guards: machine.guards.begin(),
            store: machine.store.clone(),
            files: Arc::clone(&machine.files),
        }
    }

    /// Index first, then the records that count on it.
    fn write_all(self) -> Result<(), StateError> {
        self.flush_index()?;
        self.store.commit(self.changes(), self.meta.stamp_ms)?;
        Ok(())
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
        self.put_rest(&mut changes);
        changes.put(Table::Meta, &[], self.meta.write());
        changes
    }

    fn flush_index(&self) -> Result<(), StateError> {
        let mut any_new = false;
        for (topic, record) in &self.topics {
            for (queue, next_offset) in topic.queues.iter().zip(&record.next_offsets) {
                any_new |= queue.flush(*next_offset)?;
            }
        }
        if any_new {
            self.files.sync_directory()?;
        }
        Ok(())
    }

    fn put_topics_and_groups(&self, changes: &mut Changes) {
        for (topic, topic_record) in &self.topics {
            let key = topic.topic.id.0.to_be_bytes();
            changes.put(Table::Topic, &key, record::write_topic(topic_record));
        }
        for group in &self.groups {
            let key = group.id.0.to_be_bytes();
            changes.put(Table::Group, &key, record::write_group(group));
        }
        for (queue, progress) in &self.progress {
            let key = record::progress_key(*queue);
            changes.put(Table::Progress, &key, progress.encode().into());
        }
    }

    fn put_transactions(&self, changes: &mut Changes) {
        for sequence in &self.transactions.gone {
            changes.remove(Table::Unresolved, &sequence.to_be_bytes());
        }
        for (id, pending) in &self.transactions.pending {
            let key = pending.sequence.to_be_bytes();
            changes.put(Table::Unresolved, &key, record::write_pending(*id, pending));
        }
        for (id, resolved) in self.transactions.resolved.iter() {
            let key = id.0.to_be_bytes();
            changes.put_verdict(&key, record::write_resolved(resolved));
        }
    }

    fn put_rest(&self, changes: &mut Changes) {
        for (id, producer) in &self.producers {
            let key = id.to_be_bytes();
            match producer {
                Some(producer) => {
                    changes.put(Table::Producer, &key, record::write_producer(producer));
                }
                None => changes.remove(Table::Producer, &key),
            }
        }
        for (key, message) in &self.delayed {
            let key = record::delayed_key(*key);
            match message {
                Some(message) => changes.put(Table::Delayed, &key, record::write_delayed(message)),
                None => changes.remove(Table::Delayed, &key),
            }
        }
        for (key, guard) in self.guards.iter() {
            changes.put(Table::Guard, key, record::write_guard(guard));
        }
    }
}

impl apply::Checkpoint for Checkpoint {
    fn applied(&self) -> LogId {
        self.applied
    }

    fn write(self) -> io::Result<()> {
        self.write_all().map_err(io::Error::other)
    }
}
