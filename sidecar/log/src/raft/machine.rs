use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use openraft::entry::EntryPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::types::{LogId, StoredMembership, TypeConfig};
use crate::apply::{Applied, Apply};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, FloorCheckpoint>;

/// What a node that has nothing is given before it is given entries. There is none as long as
/// a group has a single voter and its log is kept whole.
#[derive(Clone, Debug)]
pub(crate) enum FloorCheckpoint {}

/// The state with what its surroundings want to know of it.
pub(crate) struct Driven<A> {
    state: Mutex<A>,
    /// Bytes of the entries that were applied.
    applied_bytes: AtomicU64,
    /// When the next delayed message is due.
    due: watch::Sender<Option<u64>>,
}

impl<A: Apply> Driven<A> {
    pub(crate) fn new(state: A) -> Self {
        Self {
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

    pub(crate) fn due(&self) -> watch::Receiver<Option<u64>> {
        self.due.subscribe()
    }
}

/// Applies what the Raft group has committed.
pub(crate) struct Machine<A> {
    driven: Arc<Driven<A>>,
}

impl<A: Apply> Machine<A> {
    pub(crate) fn new(driven: Arc<Driven<A>>) -> Self {
        Self { driven }
    }

    fn apply_one(&self, item: EntryResponder<TypeConfig>) -> io::Result<()> {
        let (entry, responder) = item;
        let log_id = entry.log_id;
        let mut state = self.driven.state();
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
        self.driven.due.send_if_modified(|known| {
            let changed = *known != due;
            *known = due;
            changed
        });
        if let Some(responder) = responder {
            responder.send(outcomes);
        }
        Ok(())
    }
}

impl<A: Apply> RaftStateMachine<TypeConfig> for Machine<A> {
    type SnapshotData = FloorCheckpoint;
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

    async fn get_snapshot_builder(&mut self) -> FloorCheckpoints {
        FloorCheckpoints
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: FloorCheckpoint,
    ) -> Result<(), io::Error> {
        match snapshot {}
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(None)
    }
}

/// Hands out floor checkpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloorCheckpoints;

impl RaftSnapshotBuilder<TypeConfig> for FloorCheckpoints {
    type SnapshotData = FloorCheckpoint;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let message = "a group with a single voter keeps its log whole and has no floor checkpoint";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
