//! Loading the hot state that the last checkpoint left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use outrigger_core::saga::ledger::Ledger;
use tokio::sync::watch;

use super::catalog::Catalog;
use super::delayed::Delayed;
use super::groups::Groups;
use super::guards::Guards;
use super::incoming::Incoming;
use super::machine::Machine;
use super::meta::Meta;
use super::outgoing::Outgoing;
use super::producers::Producers;
use super::record;
use super::topics::Topics;
use super::transactions::Transactions;
use super::{Limits, StateError};
use crate::codec::{CodecError, Reader};
use crate::command::{ConsumerGroupId, TopicId};
use crate::derived::{DerivedError, Store, Table};
use crate::queue_index::Files;

impl Machine {
    /// Opens derived state in a directory, which is made when it is not there. What is new
    /// begins with these limits.
    pub(super) fn open(
        directory: &Path,
        begin_with: &Limits,
        catalog: &Arc<RwLock<Catalog>>,
        more_outgoing: &watch::Sender<u64>,
    ) -> Result<(Self, Meta), StateError> {
        let store = Store::open(&directory.join("store"))?;
        let files = Arc::new(Files::open(&directory.join("index"))?);
        let meta = match store.get(Table::Meta, &[])? {
            Some(bytes) => Meta::read(&bytes)?,
            None => Meta {
                limits: begin_with.clone(),
                ..Meta::default()
            },
        };
        let mut machine = Self {
            limits: meta.limits.clone(),
            stamp_ms: meta.stamp_ms,
            floor: meta.floor,
            topics: Topics::default(),
            groups: Groups::default(),
            producers: Producers::default(),
            transactions: Transactions::default(),
            delayed: Delayed::default(),
            outgoing: Outgoing::new(more_outgoing.clone()),
            incoming: Incoming::default(),
            guards: Guards::default(),
            sagas: Ledger::new(meta.limits.sagas.clone()),
            store,
            files,
            catalog: Arc::clone(catalog),
        };
        machine.load_topics()?;
        machine.load_groups()?;
        machine.load_transactions(&meta)?;
        machine.load_delayed(&meta)?;
        machine.load_outgoing()?;
        machine.load_producers()?;
        machine.load_sagas()?;
        machine.publish_catalog();
        Ok((machine, meta))
    }

    fn load_topics(&mut self) -> Result<(), StateError> {
        let mut records = Vec::new();
        self.store.scan(Table::Topic, |key, bytes| {
            let id = TopicId(id(Table::Topic, key, records.len())?);
            records.push(record::read_topic(id, bytes)?);
            Ok(())
        })?;
        let mut offsets = BTreeMap::new();
        for record in &records {
            for (&bounds, queue) in record.offsets.iter().zip(0_u32..) {
                offsets.insert((record.topic.id.0, queue), bounds);
            }
        }
        self.files.truncate(&offsets)?;
        for record in records {
            self.topics.restore(record, &self.files);
        }
        Ok(())
    }

    fn load_groups(&mut self) -> Result<(), StateError> {
        let groups = &mut self.groups;
        self.store.scan(Table::Group, |key, bytes| {
            let id = ConsumerGroupId(id(Table::Group, key, groups.len())?);
            groups.restore(Arc::new(record::read_group(id, bytes)?));
            Ok(())
        })?;
        self.store.scan(Table::Progress, |key, bytes| {
            let (queue, progress) = record::read_progress(key, bytes)?;
            groups.restore_progress(queue, progress);
            Ok(())
        })?;
        Ok(())
    }

    fn load_transactions(&mut self, meta: &Meta) -> Result<(), StateError> {
        let (transactions, delayed) = (&mut self.transactions, &mut self.delayed);
        let outgoing = &mut self.outgoing;
        self.store.scan(Table::Unresolved, |key, bytes| {
            let (id, mut pending) = record::read_pending(key, bytes)?;
            pending.producer_group = transactions.group_name(&pending.producer_group);
            delayed.reserve(pending.delayed_messages());
            outgoing.reserve(pending.outgoing_messages());
            transactions.restore(id, pending);
            Ok(())
        })?;
        transactions.restore_counters(meta.next_transaction_sequence, meta.newest_transaction);
        Ok(())
    }

    fn load_delayed(&mut self, meta: &Meta) -> Result<(), StateError> {
        let delayed = &mut self.delayed;
        self.store.scan(Table::Delayed, |key, bytes| {
            let (key, message) = record::read_delayed(key, bytes)?;
            delayed.restore(key, message);
            Ok(())
        })?;
        delayed.restore_sequence(meta.next_delayed_sequence);
        Ok(())
    }

    fn load_outgoing(&mut self) -> Result<(), StateError> {
        let (outgoing, incoming) = (&mut self.outgoing, &mut self.incoming);
        self.store.scan(Table::Outgoing, |key, bytes| {
            let (key, message) = record::read_outgoing(key, bytes)?;
            outgoing.restore(key, message);
            Ok(())
        })?;
        self.store.scan(Table::Target, |key, bytes| {
            let target = u32::from_be_bytes(fixed(Table::Target, key)?);
            let last_number = u64::from_be_bytes(fixed(Table::Target, bytes)?);
            outgoing.restore_target(target, last_number);
            Ok(())
        })?;
        outgoing.restored();
        self.store.scan(Table::Source, |key, bytes| {
            let source = u32::from_be_bytes(fixed(Table::Source, key)?);
            let last_number = u64::from_be_bytes(fixed(Table::Source, bytes)?);
            incoming.restore(source, last_number);
            Ok(())
        })?;
        Ok(())
    }

    fn load_producers(&mut self) -> Result<(), StateError> {
        let producers = &mut self.producers;
        self.store.scan(Table::Producer, |key, bytes| {
            let id = u128::from_be_bytes(fixed(Table::Producer, key)?);
            producers.restore(id, record::read_producer(bytes)?);
            Ok(())
        })?;
        Ok(())
    }

    fn publish_catalog(&self) {
        let mut catalog = Catalog::default();
        for (topic, _) in self.topics.iter() {
            catalog.add_topic(Arc::clone(topic));
        }
        for group in self.groups.iter() {
            catalog.add_group(Arc::clone(group));
        }
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
    }
}

/// Ids are given out without gaps, so one that is missing means damage.
fn id(table: Table, key: &[u8], expected: usize) -> Result<u32, DerivedError> {
    let found = u32::from_be_bytes(fixed(table, key)?);
    if found as usize == expected {
        return Ok(found);
    }
    Err(damaged(
        table,
        CodecError::Unknown {
            field: "id",
            value: u64::from(found),
        },
    ))
}

fn fixed<const N: usize>(table: Table, key: &[u8]) -> Result<[u8; N], DerivedError> {
    let mut reader = Reader::new(key);
    let taken = reader.array().and_then(|taken| {
        reader.finish()?;
        Ok(taken)
    });
    taken.map_err(|source| damaged(table, source))
}

fn damaged(table: Table, source: CodecError) -> DerivedError {
    DerivedError::Record {
        table: table.name(),
        source,
    }
}
