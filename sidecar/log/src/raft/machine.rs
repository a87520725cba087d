use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::entry::EntryPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use tokio::sync::watch;

use super::floor::{FloorCheckpoints, Snapshot, SnapshotMeta, snapshot};
use super::types::{LogId, StoredMembership, TypeConfig};
use crate::apply::{Applied, Apply};
use crate::blocking::Blocking;
use crate::floor::{FloorFile, Floors};

/// The state with what its surroundings want to know of it.
pub(crate) struct Driven<A> {
    state: Mutex<A>,
    /// Bytes of the entries that were applied.
    applied_bytes: AtomicU64,
    /// When the next delayed message is due.
    due: watch::Sender<Option<u64>>,
    /// The floor of the log, as it is known on disk.
    recorded_floor: AtomicU64,
    /// Held while the state on disk is changed.
    pub(super) writing: tokio::sync::Mutex<()>,
}

impl<A: Apply> Driven<A> {
    /// The log of the state was purged up to this index.
    pub(crate) fn new(state: A, purged: u64) -> Self {
        let recorded_floor = state.expiry().floor().max(purged);
        Self {
            recorded_floor: AtomicU64::new(recorded_floor),
            writing: tokio::sync::Mutex::new(()),
            due: watch::Sender::new(state.next_due_ms()),
            state: Mutex::new(state),
            applied_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, A> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn applied_bytes(&self) -> u64 {
        self.applied_bytes.load(Ordering::Relaxed)
    }

    /// Entries up to this index are not needed any more, after a restart neither.
    pub(crate) fn recorded_floor(&self) -> u64 {
        self.recorded_floor.load(Ordering::SeqCst)
    }

    /// The floor is on disk.
    pub(crate) fn record_floor(&self, floor: u64) {
        self.recorded_floor.fetch_max(floor, Ordering::SeqCst);
    }

    fn tell_due(&self, due: Option<u64>) {
        self.due.send_if_modified(|known| {
            let changed = *known != due;
            *known = due;
            changed
        });
    }

    pub(crate) fn due(&self) -> watch::Receiver<Option<u64>> {
        self.due.subscribe()
    }
}

/// Applies what the Raft group has committed.
pub(crate) struct Machine<A> {
    driven: Arc<Driven<A>>,
    floors: Arc<Floors>,
    blocking: Blocking,
}

impl<A: Apply> Machine<A> {
    pub(crate) fn new(driven: Arc<Driven<A>>, floors: Arc<Floors>, blocking: Blocking) -> Self {
        Self {
            driven,
            floors,
            blocking,
        }
    }

    /// The newest floor checkpoint that no entry before it is needed for. Open at once: the file
    /// may be removed at any time.
    fn latest(&self) -> io::Result<Option<FloorFile>> {
        self.floors.latest_upto(self.driven.recorded_floor())
    }

    fn apply_one(&self, item: EntryResponder<TypeConfig>) -> io::Result<()> {
        let (entry, responder) = item;
        let log_id = entry.log_id;
        let mut state = self.driven.state();
        let expected = state.applied().map_or(0, |applied| applied.index + 1);
        if log_id.index != expected {
            let message = format!("entry {log_id} is to be applied where {expected} is the next");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let outcomes = match entry.payload {
            EntryPayload::Normal(proposal) => {
                let bytes = proposal.body.len() as u64;
                self.driven
                    .applied_bytes
                    .fetch_add(bytes, Ordering::Relaxed);
                state.apply(Applied {
                    log_id,
                    body: &proposal.body,
                })?
            }
            EntryPayload::Blank => {
                state.apply_blank(log_id);
                Vec::new()
            }
            EntryPayload::Membership(membership) => {
                state.apply_membership(log_id, membership);
                Vec::new()
            }
        };
        let due = state.next_due_ms();
        drop(state);
        self.driven.tell_due(due);
        if let Some(responder) = responder {
            responder.send(outcomes);
        }
        Ok(())
    }
}

impl<A: Apply> RaftStateMachine<TypeConfig> for Machine<A> {
    type SnapshotData = FloorFile;
    type SnapshotBuilder = FloorCheckpoints;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.driven.state();
        Ok((state.applied(), state.membership()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            self.apply_one(item?)?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<FloorCheckpoints> {
        let builder = self.get_snapshot_builder().await;
        (force || matches!(builder.latest, Ok(Some(_)))).then_some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> FloorCheckpoints {
        FloorCheckpoints {
            latest: self.latest().map_err(Arc::new),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: FloorFile,
    ) -> Result<(), io::Error> {
        let _alone = self.driven.writing.lock().await;
        let import = self.driven.state().import();
        let file = snapshot.clone();
        self.blocking.run(move || import(file)).await.flatten()?;
        let due = {
            let mut state = self.driven.state();
            state.install()?;
            state.next_due_ms()
        };
        self.driven.tell_due(due);
        self.floors.received(&snapshot)?;
        self.driven.record_floor(snapshot.header.applied.index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.latest()?.map(snapshot))
    }
}
