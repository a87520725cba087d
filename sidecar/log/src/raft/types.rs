use openraft::BasicNode;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;

/// Identifies a node of the cluster.
pub(crate) type NodeId = u64;

/// A leader as entries name it. A term has at most one leader, so the term alone says who.
pub(crate) type LeaderTerm = <leader_id_std::LeaderId<u64, NodeId> as RaftLeaderId>::Committed;

/// Term and index of an entry.
pub(crate) type LogId = openraft::LogId<LeaderTerm>;

/// Who votes and who learns.
pub(crate) type Membership = openraft::Membership<NodeId, BasicNode>;

/// A membership and the entry that set it.
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderTerm, NodeId, BasicNode>;
