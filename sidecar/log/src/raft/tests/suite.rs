//! openraft's own suite for storage, on the real write-ahead log.

use std::io;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use openraft::entry::EntryPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;

use crate::blocking::Blocking;
use crate::raft::log_store::LogStore;
use crate::raft::types::TypeConfig;
use crate::raft::{LogId, StoredMembership};
use crate::wal::{OsDisk, Wal, WalOptions};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotMeta>;

/// A state machine of which a snapshot is only what it says about itself.
#[derive(Clone, Default)]
struct InMemory {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Shared with the builders, which are clones.
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for InMemory {
    type SnapshotData = SnapshotMeta;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(Snapshot {
            snapshot: meta.clone(),
            meta,
        })
    }
}

impl RaftStateMachine<TypeConfig> for InMemory {
    type SnapshotData = SnapshotMeta;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Vec::new());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotMeta,
    ) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(snapshot);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshot = self.snapshot.lock().unwrap().clone();
        Ok(snapshot.map(|meta| Snapshot {
            snapshot: meta.clone(),
            meta,
        }))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, InMemory, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, InMemory), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let options = WalOptions {
            segment_bytes: 16 << 10,
            first_segment_bytes: 4 << 10,
            // Nothing stays in memory: what is read comes from files.
            tail_cache_bytes_max: 0,
            owner: 7,
        };
        let fatal = Arc::new(|error: &io::Error| panic!("{error}"));
        let wal = Wal::open(directory.path(), options, Arc::new(OsDisk), fatal).unwrap();
        let store = LogStore::new(Arc::new(wal), 0, Blocking::Threads);
        Ok((directory, store, InMemory::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_suite_passes() {
    Suite::test_all(OnDisk).await.unwrap();
}
