//! Reading from the log.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::lease::Progress;
use outrigger_core::saga::{Definition, definition, ledger};
use tokio::sync::watch;

use crate::command::{ConsumerGroupId, TopicId, TransactionId};
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::queue_index::{IndexEntry, IndexError};
use crate::state::{ConsumerGroup, StateError, Topic};
use crate::transaction::{Transaction, Unresolved};
use crate::wal::ReadError;

/// Only what has been applied can be read.
impl Log {
    /// All topics, in the order in which they were made.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.shared().topics()
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shared().topic(name)
    }

    /// The topic with this number.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.shared().topic_by_id(id)
    }

    /// The oldest offset of a queue and the offset of its next message. A queue that does
    /// not exist is empty: both are 0.
    #[must_use]
    pub fn queue_bounds(&self, topic: TopicId, queue: u32) -> (u64, u64) {
        self.shared().queue_bounds(topic, queue).unwrap_or_default()
    }

    /// All consumer groups, in the order in which they were made.
    #[must_use]
    pub fn consumer_groups(&self) -> Vec<Arc<ConsumerGroup>> {
        self.shared().consumer_groups()
    }

    /// The consumer group of this name.
    #[must_use]
    pub fn consumer_group(&self, name: &str) -> Option<Arc<ConsumerGroup>> {
        self.shared().consumer_group(name)
    }

    /// How far a consumer group has come in a queue; where it is going to start when it
    /// has not begun.
    #[must_use]
    pub fn progress(&self, group: ConsumerGroupId, topic: TopicId, queue: u32) -> Progress {
        self.shared().progress(group, topic, queue)
    }

    /// How far a consumer group has come in a queue; nothing when it has not begun.
    #[must_use]
    pub fn recorded_progress(
        &self,
        group: ConsumerGroupId,
        topic: TopicId,
        queue: u32,
    ) -> Option<Progress> {
        self.shared().recorded_progress(group, topic, queue)
    }

    /// Appends the places of at most `max` messages of a queue, from the offset `from` on,
    /// to `out`. A queue that does not exist has none. May block on the disk when the
    /// messages are older than the last checkpoint.
    ///
    /// # Errors
    ///
    /// When the queue index cannot be read.
    pub fn index(
        &self,
        topic: TopicId,
        queue: u32,
        from: u64,
        max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), IndexError> {
        self.shared().index(topic, queue, from, max, out)
    }

    /// The stored bytes of messages, as they were sent, in the order asked for. May block
    /// on the disk when they are not among the newest.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read.
    pub fn read(&self, entries: &[IndexEntry]) -> Result<Vec<Bytes>, ReadError> {
        let parts = entries.iter().map(|entry| (entry.place, entry.length));
        self.reader().read_all(self.data_group(), parts)
    }

    /// Changes whenever messages became visible in a topic; nothing when there is no such
    /// topic.
    #[must_use]
    pub fn watch_topic(&self, topic: TopicId) -> Option<watch::Receiver<u64>> {
        self.shared().watch_topic(topic)
    }

    /// The data groups that messages of committed transactions wait for.
    #[must_use]
    pub fn outgoing_targets(&self) -> Vec<u32> {
        self.shared().outgoing_targets()
    }

    /// At most `max` messages that wait until they are forwarded to a data group: those with
    /// numbers after `after`, 0 for all, in order.
    #[must_use]
    pub fn outgoing(&self, target: u32, after: u64, max: usize) -> Vec<Outgoing> {
        let waiting = self.shared().outgoing(target, after, max);
        let outgoing = |(number, message)| Outgoing::new(number, message);
        waiting.into_iter().map(outgoing).collect()
    }

    /// Changes whenever there are more messages to be forwarded.
    #[must_use]
    pub fn watch_outgoing(&self) -> watch::Receiver<u64> {
        self.shared().watch_outgoing()
    }

    /// A transaction that waits for its verdict, or whose verdict can still be asked for.
    ///
    /// # Errors
    ///
    /// When derived state cannot be read.
    pub fn transaction(&self, id: TransactionId) -> Result<Option<Transaction>, StateError> {
        let found = self.shared().transaction(id)?;
        Ok(found.map(|record| Transaction::new(id, record)))
    }

    /// At most `limit` transactions that wait for their verdict, parked ones included, in
    /// the order of preparation: those after `after_sequence` (0 for all) that were
    /// prepared before `prepared_before_ms`.
    #[must_use]
    pub fn unresolved(
        &self,
        after_sequence: u64,
        prepared_before_ms: u64,
        limit: usize,
    ) -> Vec<Unresolved> {
        let shared = self.shared();
        let found = shared.unresolved(after_sequence, prepared_before_ms, limit);
        let unresolved = |(id, record): (TransactionId, crate::state::TransactionRecord)| {
            Some(Unresolved {
                sequence: record.sequence?,
                transaction: Transaction::new(id, record),
            })
        };
        found.into_iter().filter_map(unresolved).collect()
    }

    /// A saga that has not ended, or that is still kept since.
    ///
    /// # Errors
    ///
    /// When derived state cannot be read.
    pub fn saga(&self, id: &str) -> Result<Option<ledger::View>, StateError> {
        self.shared().saga(id)
    }

    /// At most `limit` sagas after an id (empty: from the first on), in the order of the ids.
    ///
    /// # Errors
    ///
    /// When derived state cannot be read.
    pub fn sagas(
        &self,
        filter: &ledger::Filter,
        after: &str,
        limit: usize,
    ) -> Result<ledger::Page, StateError> {
        self.shared().sagas(filter, after, limit)
    }

    /// A definition of sagas; the latest one of this name unless a version is given.
    #[must_use]
    pub fn saga_definition(
        &self,
        name: &str,
        version: Option<definition::Version>,
    ) -> Option<Arc<Definition>> {
        self.shared().saga_definition(name, version)
    }

    /// All versions of the definition with this name, or the latest version of every one, in
    /// order.
    #[must_use]
    pub fn saga_definitions(&self, name: Option<&str>) -> Vec<ledger::Defined> {
        self.shared().saga_definitions(name)
    }

    /// A digest of everything that follows from the log: the same on every node that has
    /// applied the same entries. It reads all of it, so it is for comparing nodes now and
    /// then, and may block on the disk.
    ///
    /// # Errors
    ///
    /// When derived state cannot be read.
    pub fn digest(&self) -> Result<u128, StateError> {
        self.shared().digest()
    }
}
