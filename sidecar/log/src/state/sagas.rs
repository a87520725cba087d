//! Sagas: the core decides, here they are kept.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::saga::Definition;
use outrigger_core::saga::codec::DecodeError;
use outrigger_core::saga::definition::Version;
use outrigger_core::saga::ledger::{
    Changes as SagaChanges, Command, Counters, Defined, Filter, Kept, Page, View,
};

use super::machine::{Context, Machine};
use super::{Shared, StateError};
use crate::codec::{CodecError, put_u64};
use crate::command::Outcome;
use crate::derived::{Changes, DerivedError, Store, Table};

/// Bytes before an ended saga: its time of expiry.
const EXPIRY_BYTES: usize = 8;

impl From<DecodeError> for StateError {
    fn from(_: DecodeError) -> Self {
        Self::Derived(damaged(Table::Saga))
    }
}

impl Machine {
    /// Whatever is refused is refused by the core, in the same way everywhere.
    pub(super) fn saga(
        &mut self,
        context: &Context,
        command: Command,
    ) -> Result<Outcome, StateError> {
        let store = &self.store;
        let on_disk = |id: &str| find_ended(store, id);
        let answer = self.sagas.apply_with(context.stamp_ms, command, on_disk)?;
        Ok(Outcome::Saga(Box::new(answer)))
    }

    pub(super) fn load_sagas(&mut self) -> Result<(), StateError> {
        let sagas = &mut self.sagas;
        let read = |table: Table, read: Result<(), DecodeError>| read.map_err(|_| damaged(table));
        self.store.scan(Table::SagaDefinition, |_, bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            read(Table::SagaDefinition, sagas.restore_definition(bytes))
        })?;
        self.store.scan(Table::SagaOwner, |key, bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            if key.is_empty() {
                sagas.restore_counters(read_counters(&bytes)?);
                return Ok(());
            }
            let number = key.try_into().map(u64::from_be_bytes);
            let number = number.map_err(|_| damaged(Table::SagaOwner))?;
            read(Table::SagaOwner, sagas.restore_owner(number, bytes))
        })?;
        self.store.scan(Table::Saga, |_, bytes| {
            read(Table::Saga, sagas.restore(Bytes::copy_from_slice(bytes)))
        })?;
        sagas.restored();
        Ok(())
    }
}

impl Shared {
    pub(crate) fn saga(&self, id: &str) -> Result<Option<View>, StateError> {
        self.read(|machine| {
            let on_disk = |id: &str| find_ended(&machine.store, id);
            machine.sagas.view_with(machine.stamp_ms, id, on_disk)
        })
    }

    pub(crate) fn sagas(
        &self,
        filter: &Filter,
        after: &str,
        limit: usize,
    ) -> Result<Page, StateError> {
        self.read(|machine| {
            let (sagas, now_ms) = (&machine.sagas, machine.stamp_ms);
            if !filter.admits_ended() {
                return Ok(sagas.list(now_ms, filter, after, limit));
            }
            machine
                .store
                .after(Table::EndedSaga, after.as_bytes(), |stored| {
                    let stored = stored.map(|found| {
                        let (id, bytes) = found?;
                        let id = String::from_utf8(id).map_err(|_| damaged(Table::EndedSaga))?;
                        Ok((id, without_expiry(&bytes)?))
                    });
                    sagas.list_with::<StateError>(now_ms, filter, after, limit, stored)
                })?
        })
    }

    pub(crate) fn saga_definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> Option<Arc<Definition>> {
        self.read(|machine| machine.sagas.definition(name, version).cloned())
    }

    pub(crate) fn saga_definitions(&self, name: Option<&str>) -> Vec<Defined> {
        self.read(|machine| machine.sagas.definitions(name))
    }
}

fn find_ended(store: &Store, id: &str) -> Result<Option<Bytes>, StateError> {
    let found = store.get(Table::EndedSaga, id.as_bytes())?;
    Ok(found.map(|bytes| without_expiry(&bytes)).transpose()?)
}

fn without_expiry(bytes: &[u8]) -> Result<Bytes, DerivedError> {
    let saga = bytes.get(EXPIRY_BYTES..);
    let saga = saga.ok_or_else(|| damaged(Table::EndedSaga))?;
    Ok(Bytes::copy_from_slice(saga))
}

/// A saga as it is kept when it has ended.
pub(super) fn write_ended(kept: &Kept) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, kept.expires_at_ms());
    out.extend(kept.encode());
    out
}

/// Puts what has changed into a checkpoint.
pub(super) fn write(sagas: &SagaChanges, changes: &mut Changes) {
    for (name, version, bytes) in &sagas.definitions {
        // A name has no zero.
        let key = [name.as_bytes(), &[0], &version.0.to_be_bytes()].concat();
        changes.put(Table::SagaDefinition, &key, bytes.clone());
    }
    for (number, bytes) in &sagas.owners {
        let key = number.to_be_bytes();
        match bytes {
            Some(bytes) => changes.put(Table::SagaOwner, &key, bytes.clone()),
            None => changes.remove(Table::SagaOwner, &key),
        }
    }
    if !sagas.owners.is_empty() {
        changes.put(Table::SagaOwner, &[], write_counters(sagas.counters));
    }
    for id in &sagas.left {
        changes.remove(Table::Saga, id.as_bytes());
    }
    for (id, kept) in &sagas.active {
        changes.put(Table::Saga, id.as_bytes(), kept.encode());
    }
    for id in &sagas.reopened {
        changes.remove(Table::EndedSaga, id.as_bytes());
    }
    for (id, kept) in sagas.ended.iter() {
        changes.put(Table::EndedSaga, id.as_bytes(), write_ended(kept));
    }
}

fn write_counters(counters: Counters) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, counters.last_tenure);
    put_u64(&mut out, counters.last_notice);
    out
}

fn read_counters(bytes: &[u8]) -> Result<Counters, DerivedError> {
    let mut reader = crate::codec::Reader::new(bytes);
    let mut counters = || {
        let counters = Counters {
            last_tenure: reader.u64()?,
            last_notice: reader.u64()?,
        };
        reader.finish()?;
        Ok::<_, CodecError>(counters)
    };
    counters().map_err(|_| damaged(Table::SagaOwner))
}

fn damaged(table: Table) -> DerivedError {
    DerivedError::Record {
        table: table.name(),
        source: CodecError::Part {
            field: table.name(),
        },
    }
}
