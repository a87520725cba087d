use std::collections::BTreeMap;
use std::fmt;

/// A node, as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Where its peers reach it.
    pub address: String,
    /// Where applications and sidecars reach it.
    pub edge: String,
    /// Made with its data directory: tells a node from another one that has its number.
    pub instance: u128,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Who belongs to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Those who decide. During a change, those of the old and of the new set.
    pub voters: BTreeMap<u64, Member>,
    /// Those who receive the log and do not vote.
    pub learners: BTreeMap<u64, Member>,
    /// True while the voters are being changed: the old and the new set decide together.
    pub joint: bool,
}

/// How far the leader knows another node to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The node.
    pub id: u64,
    /// The last entry known to be durable there; 0 when none is.
    pub matched_index: u64,
    /// How long ago the node last acknowledged the leader, in milliseconds; `None` when it has
    /// not since this node leads.
    pub last_heard_ms: Option<u64>,
}
