//! Whether this node leads.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, RaftMetrics};
use tokio::sync::watch;

use super::machine::{Driven, Machine};
use super::types::TypeConfig;
use crate::apply::Apply;
use crate::cluster::Leadership;
use crate::submit::{Batcher, Propose};

/// Who leads now. This node does when it has applied the first entry of its own term: by then
/// it has applied everything that was acknowledged before.
pub(super) fn of(metrics: &RaftMetrics<TypeConfig>) -> Leadership {
    let term = metrics.current_term;
    let applied_term = metrics.last_applied.map(|id| *id.committed_leader_id());
    let running = metrics.running_state.is_ok() && metrics.state.is_leader();
    if running && metrics.current_leader == Some(metrics.id) {
        if applied_term == Some(term.into()) {
            return Leadership::Leading { term };
        }
        return Leadership::Following { leader: None, term };
    }
    let member = |id| {
        let membership = metrics.membership_config.membership();
        Some((id, membership.get_node(&id)?.clone()))
    };
    let leader = metrics.current_leader.filter(|id| *id != metrics.id);
    Leadership::Following {
        leader: leader.and_then(member),
        term,
    }
}

/// Tells whenever it changes, until the group stops.
pub(super) async fn run<A: Apply, P: Propose>(
    raft: Raft<TypeConfig, Machine<A>>,
    driven: Arc<Driven<A>>,
    batcher: Arc<Batcher<P>>,
    leadership: watch::Sender<Leadership>,
) {
    let mut metrics = raft.metrics();
    loop {
        let now = of(&metrics.borrow_and_update());
        if now.is_leading() {
            // Before anybody may submit: no entry is stamped earlier than one before it.
            batcher.clock().raise(driven.state().last_stamp_ms());
        }
        leadership.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
