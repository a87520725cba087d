/// Why the membership was not changed, or leadership not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only the leader can do that. Nothing was changed.
    #[error("this node does not lead its group{}", leader.map(|id| format!(", node {id} does")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// An earlier change is still on its way.
    #[error("another change of the membership is on its way; try again when it has ended")]
    InProgress,
    /// There is no such node.
    #[error("node {id} is not a member")]
    Unknown {
        /// The node.
        id: u64,
    },
    /// Not a single voter would be left.
    #[error("a cluster needs at least one voter")]
    NoVoters,
    /// A member with this number exists, on another machine or with another data directory.
    #[error("node {id} is a member already, with another instance or address")]
    Exists {
        /// The node.
        id: u64,
    },
    /// The node to lead lacks entries still, or cannot be reached. Nothing was changed.
    #[error(
        "leadership was not offered to node {id}: after {waited_ms} ms it lacks {missing} entries"
    )]
    Behind {
        /// The node that was to lead.
        id: u64,
        /// How many entries it lacks, as far as this node knows.
        missing: u64,
        /// How long it was waited.
        waited_ms: u64,
    },
    /// The node to lead has all entries, and does not lead all the same.
    #[error("leadership was not taken over by node {id} within {waited_ms} ms")]
    NotTaken {
        /// The node that was to lead.
        id: u64,
        /// How long it was waited.
        waited_ms: u64,
    },
    /// Nobody else could lead.
    #[error("no other voter could lead")]
    NoSuccessor,
    /// The change may have been made or not: look at the members.
    #[error("the leader changed: whether the members were changed is not known")]
    OutcomeUnknown,
    /// The log was shut down or has failed.
    #[error("the log is closed")]
    Closed,
}
