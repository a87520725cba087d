//! Releases delayed messages: the leader proposes it when the earliest is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::Leadership;
use crate::command::Command;
use crate::submit::{Batcher, Propose};

/// The longest sleep: the wall clock may be set while this task sleeps.
const SLEEP_MS_MAX: u64 = 1_000;
/// The wait after a refusal.
const RETRY_MS: u64 = 200;

/// Runs while this node leads, whenever it does, until the state is gone.
pub(super) async fn run<P: Propose>(
    mut due: watch::Receiver<Option<u64>>,
    mut leadership: watch::Receiver<Leadership>,
    batcher: Arc<Batcher<P>>,
) {
    loop {
        if leadership.wait_for(Leadership::is_leading).await.is_err() {
            return;
        }
        let earliest = *due.borrow_and_update();
        let now_ms = batcher.clock().now_ms();
        match earliest {
            None => {
                if due.changed().await.is_err() {
                    return;
                }
            }
            Some(due_ms) if due_ms > now_ms => {
                let sleep = Duration::from_millis((due_ms - now_ms).min(SLEEP_MS_MAX));
                tokio::select! {
                    () = tokio::time::sleep(sleep) => {}
                    changed = due.changed() => if changed.is_err() { return },
                }
            }
            Some(_) => release(&batcher, now_ms).await,
        }
    }
}

/// Proposes and waits, so that the next look at the clock sees what is left.
async fn release<P: Propose>(batcher: &Arc<Batcher<P>>, until_ms: u64) {
    let released = match batcher.submit(vec![Command::Due { until_ms }]) {
        Ok(pending) => pending.await.map(drop),
        Err(refusal) => Err(refusal),
    };
    if let Err(error) = released {
        tracing::debug!(%error, "delayed messages could not be released yet");
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
}
