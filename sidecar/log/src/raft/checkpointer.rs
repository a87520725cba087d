use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::log_store::to_entry_id;
use super::machine::Driven;
use super::node::GROUP;
use crate::apply::{Apply, Checkpoint};
use crate::wal::Wal;

/// How often it is looked whether a checkpoint should be written.
const LOOK_MS: u64 = 100;
/// How often it is looked whether the log is durable far enough.
const DURABLE_POLL_MS: u64 = 2;

/// When checkpoints are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointLimits {
    /// After so many bytes of entries.
    pub(crate) interval_bytes: u64,
    /// After this time, when anything was applied.
    pub(crate) interval_ms: u64,
}

/// Writes derived state, one checkpoint at a time and never ahead of the log.
pub(crate) struct Checkpointer<A> {
    limits: CheckpointLimits,
    wal: Arc<Wal>,
    driven: Arc<Driven<A>>,
    one_at_a_time: Mutex<()>,
}

impl<A: Apply> Checkpointer<A> {
    pub(crate) fn new(limits: CheckpointLimits, wal: Arc<Wal>, driven: Arc<Driven<A>>) -> Self {
        Self {
            limits,
            wal,
            driven,
            one_at_a_time: Mutex::new(()),
        }
    }

    /// Writes checkpoints as they are due. Can be stopped at any moment: a checkpoint that is
    /// being written is written to its end.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut written_bytes = self.driven.applied_bytes();
        let mut written_at = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            let applied_bytes = self.driven.applied_bytes();
            let by_bytes = applied_bytes - written_bytes >= self.limits.interval_bytes;
            let by_time = written_at.elapsed() >= Duration::from_millis(self.limits.interval_ms);
            if by_bytes || by_time {
                let this = Arc::clone(&self);
                let writing = tokio::spawn(async move { this.checkpoint().await });
                if writing.await.is_err() {
                    tracing::error!("writing a checkpoint panicked");
                }
                (written_bytes, written_at) = (applied_bytes, Instant::now());
            }
        }
    }

    /// Writes a checkpoint, when there is anything new.
    pub(crate) async fn checkpoint(&self) {
        let _alone = self.one_at_a_time.lock().await;
        let Some(checkpoint) = self.driven.state().begin_checkpoint() else {
            return;
        };
        let applied = checkpoint.applied();
        while self.wal.durable(GROUP) < Some(to_entry_id(&applied)) {
            if self.wal.has_failed() {
                return self.driven.state().end_checkpoint(false);
            }
            tokio::time::sleep(Duration::from_millis(DURABLE_POLL_MS)).await;
        }
        let written = tokio::task::spawn_blocking(move || checkpoint.write()).await;
        let written = written.map_err(std::io::Error::other).flatten();
        if let Err(error) = &written {
            tracing::error!(%error, %applied, "a checkpoint could not be written");
        }
        self.driven.state().end_checkpoint(written.is_ok());
    }
}
