use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Vote};

use super::machine::FloorCheckpoint;
use super::types::{LeaderId, NodeId, TypeConfig};
use crate::cluster::Member;

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, FloorCheckpoint>;

/// The network of a node that is its whole cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoPeers;

/// A node that cannot be reached, because this one knows no way to others.
#[derive(Clone, Debug, thiserror::Error)]
#[error("node {target} at {address} cannot be reached: this node runs alone")]
pub(crate) struct NoPeer {
    target: NodeId,
    address: String,
}

impl NoPeer {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        Unreachable::new(self)
    }
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> NoPeer {
        NoPeer {
            target,
            address: node.address.clone(),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for NoPeer {
    type SnapshotData = FloorCheckpoint;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote<LeaderId>,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
