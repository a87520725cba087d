//! Brings the bounds that this node was started with into force when it leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::machine::Driven;
use crate::apply::Apply;
use crate::cluster::Leadership;
use crate::command::Command;
use crate::state::Limits;
use crate::submit::{Batcher, Propose};

/// The wait after a refusal.
const RETRY_MS: u64 = 200;
/// How long it is waited for the answer. A log that waits for space on the disk gives none.
const ANSWER_MS_MAX: u64 = 5_000;

pub(super) struct Bounds<A: Apply, P> {
    pub(super) wanted: Limits,
    pub(super) driven: Arc<Driven<A>>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) batcher: Arc<Batcher<P>>,
}

impl<A: Apply, P: Propose> Bounds<A, P> {
    /// Looks once in each term in which this node leads: nodes that were started with different
    /// bounds do not fight over them.
    pub(super) async fn run(mut self) {
        loop {
            let leads = self.leadership.wait_for(Leadership::is_leading).await;
            let Ok(now) = leads.map(|now| now.clone()) else {
                return;
            };
            if !self.propose().await {
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
                continue;
            }
            if self.leadership.wait_for(|then| *then != now).await.is_err() {
                return;
            }
        }
    }

    /// Proposes the bounds when others are in force. False when it has to be tried again.
    pub(super) async fn propose(&self) -> bool {
        if self.driven.state().limits() == self.wanted {
            return true;
        }
        let command = Command::SetLimits(self.wanted.clone());
        let Ok(pending) = self.batcher.submit(vec![command]) else {
            return false;
        };
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let set = tokio::time::timeout(limit, pending).await;
        let set = matches!(set, Ok(Ok(_)));
        if set {
            tracing::info!(limits = ?self.wanted, "the bounds of the state have changed");
        }
        set
    }
}
