use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::edge::status::{DOMAIN, Failure};

/// Why two nodes do not work together. Nothing that such a node sends is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Their programs are too far apart.
    #[error(
        "node {node} speaks protocol {theirs_min} to {theirs_max} between nodes, this one \
         speaks {ours_min} to {ours_max}: update the older program"
    )]
    OtherProtocol {
        node: u64,
        theirs_min: u32,
        theirs_max: u32,
        ours_min: u32,
        ours_max: u32,
    },
    /// They are of different clusters.
    #[error("node {node} belongs to cluster {theirs}, this one to cluster {ours}")]
    OtherCluster {
        node: u64,
        theirs: String,
        ours: String,
    },
    /// They have different numbers of data groups.
    #[error(
        "node {node} has {theirs} data groups and this one {ours}: all nodes of a cluster have \
         the same number, which is fixed when it is formed. Leave --groups out, or give all of \
         them the same"
    )]
    OtherGroups { node: u64, theirs: u32, ours: u32 },
    /// Two nodes have one number.
    #[error(
        "two nodes have the number {node}: one at {here}, one at {there}. Each node of a \
         cluster needs a number of its own"
    )]
    DoubledId {
        node: u64,
        here: String,
        there: String,
    },
    /// The data directory is not the one that this number had before.
    #[error(
        "node {node} is a member of the cluster with another data directory. One that was \
         lost cannot be made again: start a node with an empty directory and a new number, \
         and let it take the place with: outrigger cluster replace {node} \
         --with NEW=HOST:PORT --server http://{edge}"
    )]
    OtherInstance { node: u64, edge: String },
    /// Somebody else answers at this address.
    #[error("at {address} there is node {found}, not node {expected}")]
    WrongNode {
        address: String,
        found: u64,
        expected: u64,
    },
    /// The node cannot take part yet.
    #[error("node {node} does not take part: it is {state}")]
    NotTakingPart { node: u64, state: &'static str },
    /// Only a node that waits can be adopted.
    #[error("node {node} belongs to cluster {cluster} already")]
    NotWaiting { node: u64, cluster: String },
    /// What a node must say is missing or cannot be read.
    #[error("{field} is missing or not legal")]
    Malformed { field: &'static str },
}

impl Refused {
    /// The stable name.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::OtherProtocol { .. } => "PROTOCOL_MISMATCH",
            Self::OtherCluster { .. } => "OTHER_CLUSTER",
            Self::OtherGroups { .. } => "OTHER_DATA_GROUPS",
            Self::DoubledId { .. } => "DOUBLED_NODE_ID",
            Self::OtherInstance { .. } => "OTHER_INSTANCE",
            Self::WrongNode { .. } => "WRONG_NODE",
            Self::NotTakingPart { .. } => "NODE_NOT_TAKING_PART",
            Self::NotWaiting { .. } => "NODE_NOT_WAITING",
            Self::Malformed { .. } => "MALFORMED_PEER_CALL",
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            // It will take part in a moment, or when somebody has done something.
            Refused::NotTakingPart { .. } => Code::Unavailable,
            Refused::Malformed { .. } => Code::InvalidArgument,
            Refused::OtherProtocol { .. }
            | Refused::OtherCluster { .. }
            | Refused::OtherGroups { .. }
            | Refused::DoubledId { .. }
            | Refused::OtherInstance { .. }
            | Refused::WrongNode { .. }
            | Refused::NotWaiting { .. } => Code::FailedPrecondition,
        };
        Self::new(code, refused.reason(), refused.to_string())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        Failure::from(refused).into()
    }
}

/// The stable name of a refusal that another node sent; empty when there is none.
pub(crate) fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.filter(|info| info.domain == DOMAIN)
        .map(|info| info.reason)
        .unwrap_or_default()
}
