//! Whether this node leads.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, Raft, RaftMetrics};
use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::{Driven, Machine};
use super::timing::Timing;
use super::types::TypeConfig;
use crate::apply::Apply;
use crate::cluster::Leadership;
use crate::submit::{Batcher, Propose, SubmitError};

/// How often it is looked whether a majority is heard.
const LOOK_MS: u64 = 100;
/// How long, once leadership is lost, what was proposed may wait for what becomes of it. Most
/// of it is learned from the next leader.
const ABANDON_MS: u64 = 2_000;

/// What leadership follows from, as far as it changes often. Everything else is looked up when
/// one of these has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    term: u64,
    leads: bool,
    ready: bool,
    leader: Option<u64>,
    members: Option<u64>,
}

impl Key {
    fn of(metrics: &RaftMetrics<TypeConfig>, timing: Timing) -> Self {
        let term = metrics.current_term;
        let running = metrics.running_state.is_ok();
        let leader = metrics.current_leader.filter(|_| running);
        let leads =
            leader == Some(metrics.id) && metrics.state.is_leader() && has_quorum(metrics, timing);
        let applied_term = metrics.last_applied.map(|id| id.leader_id.term);
        Self {
            term,
            leads,
            // It has applied the first entry of its own term, and thus everything before.
            ready: leads && applied_term == Some(term),
            leader: leader.filter(|id| *id != metrics.id),
            members: metrics.membership_config.log_id().map(|id| id.index),
        }
    }

    fn leadership(self, metrics: &RaftMetrics<TypeConfig>) -> Leadership {
        let term = self.term;
        if self.ready {
            return Leadership::Leading { term };
        }
        let membership = metrics.membership_config.membership();
        let leader = self.leader.and_then(|id| {
            let member = membership.get_node(&id)?;
            Some((id, member.clone()))
        });
        Leadership::Following { leader, term }
    }
}

/// Who leads now.
pub(super) fn of(metrics: &RaftMetrics<TypeConfig>, timing: Timing) -> Leadership {
    Key::of(metrics, timing).leadership(metrics)
}

/// True when this node is the only voter.
pub(super) fn is_alone(metrics: &RaftMetrics<TypeConfig>) -> bool {
    let mut voters = metrics.membership_config.membership().voter_ids();
    voters.next() == Some(metrics.id) && voters.next().is_none()
}

fn has_quorum(metrics: &RaftMetrics<TypeConfig>, timing: Timing) -> bool {
    let heard = metrics.last_quorum_acked;
    is_alone(metrics) || heard.is_some_and(|at| at.elapsed() < timing.quorum_lost())
}

/// Tells whenever it changes, until the group stops. What waits to be proposed is refused when
/// leadership is lost, and what was proposed is not waited for without end.
pub(super) async fn run<A: Apply, P: Propose>(
    raft: Raft<TypeConfig, Machine<A>>,
    driven: Arc<Driven<A>>,
    batcher: Arc<Batcher<P>>,
    timing: Timing,
    leadership: watch::Sender<Leadership>,
) {
    let mut metrics = raft.metrics();
    let mut known = None;
    let mut lost_at = None;
    loop {
        let (key, now, alone) = {
            let metrics = metrics.borrow_and_update();
            let key = Key::of(&metrics, timing);
            let now = (known != Some(key)).then(|| key.leadership(&metrics));
            (key, now, is_alone(&metrics))
        };
        known = Some(key);
        if let Some(now) = now {
            if now.is_leading() {
                lost_at = None;
                // Before anybody may submit: no entry is stamped earlier than one before it.
                batcher.clock().raise(driven.state().last_stamp_ms());
            }
            let before = leadership.send_replace(now.clone());
            if let Leadership::Following { leader, .. } = now
                && before.is_leading()
            {
                lost_at = Some(Instant::now());
                let leader = leader.map(|(id, _)| id);
                batcher.refuse_waiting(SubmitError::NotLeader { leader });
            }
        }
        if lost_at.is_some_and(|at: Instant| at.elapsed() >= Duration::from_millis(ABANDON_MS)) {
            lost_at = None;
            batcher.abandon();
        }
        let look = (key.leads && !alone) || lost_at.is_some();
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_millis(LOOK_MS)), if look => {}
        }
    }
}
