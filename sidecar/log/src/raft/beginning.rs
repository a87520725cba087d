//! How a node begins: what it finds is made to fit together, and its group is formed or found.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::Raft;

use super::error::{NodeError, is_ahead};
use super::log_store::{self, to_log_id};
use super::machine::Machine;
use super::node::NodeOptions;
use super::types::{LogId, TypeConfig};
use crate::apply::Apply;
use crate::blocking::Blocking;
use crate::cluster::{ClusterOptions, Member, Start};
use crate::floor::Floors;
use crate::wal::Wal;

/// Makes sure that the log and what follows from it fit together, or can be made to. Nothing
/// runs yet, so a node that finds otherwise can still set all of it aside. Tells up to where the
/// log is purged.
pub(crate) async fn settle<A: Apply>(
    group: u32,
    wal: &Wal,
    state: &mut A,
    floors: &Arc<Floors>,
    blocking: Blocking,
) -> Result<Option<LogId>, NodeError> {
    settle_what_is_ahead(wal, group, state, floors).await?;
    let purged = wal.purged(group).map(to_log_id);
    floors.purged(purged);
    check_beginning(state, purged, floors, blocking).await?;
    Ok(purged)
}

/// Derived state must never have seen what the log does not have: openraft would take it for
/// a snapshot and purge the log. Checkpoints are written behind the log. So it is a floor
/// checkpoint that was installed just before a crash, and the log is to be purged still; or
/// files were exchanged, and then the log decides.
async fn settle_what_is_ahead<A: Apply>(
    wal: &Wal,
    group: u32,
    state: &mut A,
    floors: &Floors,
) -> Result<(), NodeError> {
    let applied = state.applied();
    let last = wal.last(group).map(to_log_id);
    #[cfg(feature = "simulation")]
    if crate::simulation::is_planted(crate::simulation::Plant::DerivedAhead) {
        return Ok(());
    }
    let Some(applied) = applied.filter(|_| is_ahead(applied, last)) else {
        return Ok(());
    };
    if floors.newest() == Some(applied) {
        tracing::info!(%applied, ?last, "the log is purged up to the state that was installed");
        let purged = log_store::purge(wal, group, &applied).await;
        return purged.map_err(|error| NodeError::stopped("purging the log", error));
    }
    tracing::warn!(
        %applied,
        ?last,
        "derived state is ahead of the log and is made again"
    );
    state.reset().map_err(|source| NodeError::Reset { source })
}

/// State that lacks entries which are gone from the log goes on from the floor checkpoint that
/// the log begins at.
async fn check_beginning<A: Apply>(
    state: &A,
    purged: Option<LogId>,
    floors: &Arc<Floors>,
    blocking: Blocking,
) -> Result<(), NodeError> {
    let index = |id: Option<LogId>| id.map(|id| id.index);
    let Some(purged) = purged.filter(|_| index(state.applied()) < index(purged)) else {
        return Ok(());
    };
    let floors = Arc::clone(floors);
    let readable = move || match floors.latest_upto(purged.index)? {
        Some(found) => floors.verify(&found),
        None => Ok(false),
    };
    match blocking.run(readable).await.flatten() {
        Ok(true) => Ok(()),
        Ok(false) => Err(NodeError::NoBeginning {
            purged: purged.index,
        }),
        Err(error) => Err(NodeError::stopped("reading a floor checkpoint", error)),
    }
}

/// The first start of a group forms it. A node that is its whole group leads at once, as there
/// is nobody to wait for; any other waits for a leader or an election.
pub(super) async fn begin<A: Apply>(
    raft: &Raft<TypeConfig, Machine<A>>,
    options: &NodeOptions,
) -> Result<(), NodeError> {
    let initialized = raft
        .is_initialized()
        .await
        .map_err(|error| NodeError::stopped("starting", error))?;
    let voters: Vec<_> = raft.voter_ids().collect();
    if initialized {
        let alone = voters == [options.node_id];
        if !alone && options.cluster.is_none() {
            let voters = voters.len();
            return Err(NodeError::NotAlone { voters });
        }
        if alone {
            let elected = raft.trigger().elect(false).await;
            elected.map_err(|error| NodeError::stopped("electing a leader", error))?;
        }
        return Ok(());
    }
    let members = match &options.cluster {
        None => BTreeMap::from([(
            options.node_id,
            Member {
                instance: options.instance,
                ..Member::default()
            },
        )]),
        Some(ClusterOptions {
            start: Start::Form(members),
            ..
        }) => members.clone(),
        Some(ClusterOptions {
            start: Start::Wait, ..
        }) => return Ok(()),
    };
    let initialized = raft.initialize(members).await;
    initialized.map_err(|error| NodeError::stopped("forming the group", error))
}
