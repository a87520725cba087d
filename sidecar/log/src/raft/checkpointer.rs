use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::log_store::to_entry_id;
use super::machine::Driven;
use crate::apply::{Apply, Checkpoint};
use crate::blocking::Blocking;
use crate::floor::Floors;
use crate::wal::{EntryId, Wal};

/// How often it is looked whether a checkpoint should be written.
const LOOK_MS: u64 = 100;
/// How often it is looked whether the log is durable far enough.
const DURABLE_POLL_MS: u64 = 2;

/// How long it is waited after a checkpoint that failed; twice as long after each further one.
const RETRY_MS_MIN: u64 = 200;
/// After what part of the whole log a floor checkpoint is written.
const FLOORS_PER_LOG: u64 = 8;
/// How long it is waited at most.
const RETRY_MS_MAX: u64 = 30_000;

/// When checkpoints are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointLimits {
    /// After so many bytes of entries.
    pub(crate) interval_bytes: u64,
    /// After this time, when anything was applied.
    pub(crate) interval_ms: u64,
    /// As soon as so many records are in memory only.
    pub(crate) records_max: u64,
    /// After so many bytes of the log at least, the whole state is written into a file.
    pub(crate) floor_interval_bytes: u64,
}

/// Writes derived state, one checkpoint at a time and never ahead of the log.
pub(crate) struct Checkpointer<A> {
    group: u32,
    limits: CheckpointLimits,
    blocking: Blocking,
    wal: Arc<Wal>,
    driven: Arc<Driven<A>>,
    floors: Arc<Floors>,
}

impl<A: Apply> Checkpointer<A> {
    pub(crate) fn new(
        group: u32,
        limits: CheckpointLimits,
        blocking: Blocking,
        wal: Arc<Wal>,
        driven: Arc<Driven<A>>,
        floors: Arc<Floors>,
    ) -> Self {
        Self {
            group,
            limits,
            blocking,
            wal,
            driven,
            floors,
        }
    }

    /// Writes checkpoints as they are due. Can be stopped at any moment: a checkpoint that is
    /// being written is written to its end.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut written_bytes = self.driven.applied_bytes();
        let mut written_at = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            if self.driven.state().is_damaged() {
                let error = io::Error::from(io::ErrorKind::InvalidData);
                return self.wal.fatal("derived state is damaged", &error);
            }
            let by_bytes =
                self.driven.applied_bytes() - written_bytes >= self.limits.interval_bytes;
            let by_time = written_at.elapsed() >= Duration::from_millis(self.limits.interval_ms);
            if by_bytes || by_time || self.too_many_records() {
                written_bytes = self.until_written().await;
                written_at = Instant::now();
            }
        }
    }

    fn too_many_records(&self) -> bool {
        self.driven.state().unwritten_records() >= self.limits.records_max
    }

    /// Writes a checkpoint, again and again while it fails. Tells how many bytes had been
    /// applied before.
    async fn until_written(self: &Arc<Self>) -> u64 {
        let mut retry_ms = RETRY_MS_MIN;
        loop {
            let applied_bytes = self.driven.applied_bytes();
            let this = Arc::clone(self);
            let writing = tokio::spawn(async move { this.checkpoint().await });
            if writing.await.unwrap_or(false) {
                return applied_bytes;
            }
            tracing::warn!(
                retry_ms,
                "derived state is not written; it grows in memory until it can be"
            );
            tokio::time::sleep(Duration::from_millis(retry_ms)).await;
            retry_ms = (retry_ms * 2).min(RETRY_MS_MAX);
        }
    }

    /// Writes a checkpoint, when there is anything new. False when it could not be written.
    pub(crate) async fn checkpoint(&self) -> bool {
        let _alone = self.driven.writing.lock().await;
        let Some((checkpoint, floor)) = self.begin() else {
            return true;
        };
        let applied = checkpoint.applied();
        let written = self.write(checkpoint, floor).await;
        if let Err(error) = &written {
            tracing::warn!(%error, %applied, "a checkpoint could not be written");
        }
        self.driven.state().end_checkpoint(written.is_ok());
        written.is_ok()
    }

    /// What is to be written, and whether a floor checkpoint goes with it. When there is nothing
    /// new, that can be all there is to do.
    fn begin(&self) -> Option<(A::Checkpoint, bool)> {
        let new = self.driven.state().begin_checkpoint();
        match new {
            Some(new) => Some((new, self.is_floor_due())),
            None if self.is_floor_missing() => {
                let same = self.driven.state().begin_checkpoint_anyway();
                same.map(|same| (same, true))
            }
            None => None,
        }
    }

    /// A group at rest, while others fill segments, gets a floor checkpoint of all it has. It
    /// will apply nothing more before its entries are to go, and without one they could not.
    fn is_floor_missing(&self) -> bool {
        let newest = self.floors.newest().map(|newest| newest.index);
        let last = self.wal.last(self.group).map(|last| last.index);
        let applied = self.driven.state().applied().map(|applied| applied.index);
        self.wal.rests(self.group) && newest < last && applied == last
    }

    /// A floor checkpoint is written when enough of the log lies behind the one before: the
    /// more there is, the rarer. All groups fill the log.
    fn is_floor_due(&self) -> bool {
        let newest = self.floors.newest().map_or(0, |newest| newest.index);
        let part = self.wal.bytes() / FLOORS_PER_LOG;
        let since = self.wal.bytes_after(self.group, newest);
        since >= part.max(self.limits.floor_interval_bytes)
    }

    /// Never ahead of the log.
    async fn write(&self, checkpoint: A::Checkpoint, floor: bool) -> io::Result<()> {
        let applied = to_entry_id(&checkpoint.applied());
        // An older term with the same index is an entry that was cut off since.
        let covers =
            |durable: EntryId| durable.term >= applied.term && durable.index >= applied.index;
        while !self.wal.durable(self.group).is_some_and(covers) {
            #[cfg(feature = "simulation")]
            if crate::simulation::is_planted(crate::simulation::Plant::DerivedAhead) {
                break;
            }
            if self.wal.has_failed() {
                return Err(io::Error::other("the log has failed"));
            }
            tokio::time::sleep(Duration::from_millis(DURABLE_POLL_MS)).await;
        }
        let floor = floor.then(|| self.floors.new_floor(applied.index));
        let exported = floor.is_some();
        let written = self.blocking.run(move || checkpoint.write(floor)).await;
        self.driven.record_floor(written.flatten()?.floor);
        if exported && let Err(error) = self.floors.written(applied.index) {
            tracing::warn!(%error, "a floor checkpoint is not there");
        }
        Ok(())
    }
}
