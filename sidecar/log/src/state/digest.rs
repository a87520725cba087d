//! One number for the whole replicated state.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::StateError;
use super::machine::Machine;
use super::record;
use super::sagas;
use crate::derived::Table;
use crate::queue_index::ENTRY_BYTES;

/// Entries of a queue that are read at once.
const CHUNK_ENTRIES: usize = 4_096;

impl Machine {
    /// The same on every replica that has applied the same entries, whatever of it is in
    /// memory and whatever is on disk.
    pub(super) fn digest(&self) -> Result<u128, StateError> {
        let mut hasher = Xxh3::new();
        hasher.update(&self.stamp_ms.to_le_bytes());
        hasher.update(&self.floor.to_le_bytes());
        let mut limits = Vec::new();
        self.limits.write(&mut limits);
        part(&mut hasher, b'l', &limits);
        self.digest_queues(&mut hasher)?;
        self.digest_groups(&mut hasher);
        self.digest_hot(&mut hasher);
        self.digest_resolved(&mut hasher)?;
        self.digest_guards(&mut hasher)?;
        self.digest_sagas(&mut hasher)?;
        Ok(hasher.digest128())
    }

    fn digest_queues(&self, hasher: &mut Xxh3) -> Result<(), StateError> {
        for (topic, topic_record) in self.topics.iter() {
            part(hasher, b't', &record::write_topic(&topic_record));
            for queue in &topic.queues {
                let mut from = queue.first_offset();
                let mut entries = Vec::new();
                while from < queue.next_offset() {
                    entries.clear();
                    queue.read(from, CHUNK_ENTRIES, &mut entries)?;
                    for entry in &entries {
                        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
                        entry.bare().put(queue.at(entry.offset), &mut bytes);
                        part(hasher, b'i', &bytes);
                    }
                    from += entries.len() as u64;
                }
            }
        }
        Ok(())
    }

    fn digest_groups(&self, hasher: &mut Xxh3) {
        for group in self.groups.iter() {
            part(hasher, b'g', &record::write_group(group));
        }
        for (queue, progress) in self.groups.iter_progress() {
            part(hasher, b'q', &record::progress_key(*queue));
            part(hasher, b'q', &progress.encode());
        }
    }

    fn digest_hot(&self, hasher: &mut Xxh3) {
        for (id, producer) in self.producers.sorted() {
            part(hasher, b'p', &id.to_be_bytes());
            part(hasher, b'p', &record::write_producer(&producer));
        }
        part(
            hasher,
            b'u',
            &self.transactions.next_sequence().to_le_bytes(),
        );
        for (id, pending) in self.transactions.waiting(0) {
            part(hasher, b'u', &pending.sequence.to_le_bytes());
            part(hasher, b'u', &record::write_pending(id, pending));
        }
        part(hasher, b'd', &self.delayed.next_sequence().to_le_bytes());
        for (key, message) in self.delayed.iter() {
            part(hasher, b'd', &record::delayed_key(*key));
            part(hasher, b'd', &record::write_delayed(message));
        }
        self.digest_forwarding(hasher);
    }

    fn digest_forwarding(&self, hasher: &mut Xxh3) {
        for (key, message) in self.outgoing.iter() {
            part(hasher, b'o', &record::outgoing_key(*key));
            part(hasher, b'o', &record::write_outgoing(message));
        }
        for (target, last_number) in self.outgoing.last_numbers() {
            part(hasher, b'n', &target.to_le_bytes());
            part(hasher, b'n', &last_number.to_le_bytes());
        }
        for (source, last_number) in self.incoming.last_numbers() {
            part(hasher, b's', &source.to_le_bytes());
            part(hasher, b's', &last_number.to_le_bytes());
        }
    }

    /// Expired verdicts are left out: one replica may have dropped them already.
    fn digest_resolved(&self, hasher: &mut Xxh3) -> Result<(), StateError> {
        let mut all = BTreeMap::new();
        self.store.scan(Table::Resolved, |key, bytes| {
            all.insert(key.to_vec(), bytes.to_vec());
            Ok(())
        })?;
        for (id, resolved) in self.transactions.resolved_layers() {
            all.insert(
                id.0.to_be_bytes().to_vec(),
                record::write_resolved(resolved),
            );
        }
        self.digest_alive(hasher, b'r', &all);
        Ok(())
    }

    fn digest_guards(&self, hasher: &mut Xxh3) -> Result<(), StateError> {
        let mut all = BTreeMap::new();
        self.store.scan(Table::Guard, |key, bytes| {
            let guard = record::read_guard(&Bytes::copy_from_slice(bytes))?;
            all.insert(key.to_vec(), record::write_guard(&guard));
            Ok(())
        })?;
        for (key, guard) in self.guards.layers() {
            all.insert(key.clone(), record::write_guard(guard));
        }
        self.digest_alive(hasher, b'k', &all);
        Ok(())
    }

    fn digest_sagas(&self, hasher: &mut Xxh3) -> Result<(), StateError> {
        self.sagas.for_each(|key, bytes| {
            part(hasher, b'a', key);
            part(hasher, b'a', bytes);
        });
        let mut all = BTreeMap::new();
        for (id, kept) in self.sagas.ended() {
            let ended = all.entry(id.as_bytes().to_vec());
            ended.or_insert_with(|| sagas::write_ended(kept));
        }
        self.store.scan(Table::EndedSaga, |id, bytes| {
            all.entry(id.to_vec()).or_insert_with(|| bytes.to_vec());
            Ok(())
        })?;
        // What has come back is among the others.
        all.retain(|id, _| {
            let id = std::str::from_utf8(id);
            id.is_ok_and(|id| !self.sagas.is_active(id))
        });
        self.digest_alive(hasher, b'e', &all);
        Ok(())
    }

    fn digest_alive(&self, hasher: &mut Xxh3, tag: u8, all: &BTreeMap<Vec<u8>, Vec<u8>>) {
        for (key, value) in all {
            let expires_at_ms = value.first_chunk().copied().map_or(0, u64::from_le_bytes);
            if self.stamp_ms < expires_at_ms {
                part(hasher, tag, key);
                part(hasher, tag, value);
            }
        }
    }
}

/// Tag and length keep the parts apart.
fn part(hasher: &mut Xxh3, tag: u8, bytes: &[u8]) {
    hasher.update(&[tag]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
