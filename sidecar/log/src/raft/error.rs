use super::types::LogId;

/// Why the Raft group of a node does not come up.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Derived state could not be discarded.
    #[error("derived state that is ahead of the log could not be discarded: {source}")]
    Reset {
        /// What the file system said.
        source: std::io::Error,
    },
    /// The group could not be started or has stopped.
    #[error("the Raft group stopped while {doing}: {reason}")]
    Stopped {
        /// What was being done.
        doing: &'static str,
        /// What the group says.
        reason: String,
    },
    /// State has to be made again, and neither the log nor a floor checkpoint has all of it.
    #[error(
        "derived state has to be made again, but the log's entries up to {purged} are gone, and \
         the floor checkpoint that is there instead of them is damaged. Restore it from a copy, \
         or replace this node by one with an empty data directory"
    )]
    NoBeginning {
        /// The index of the last entry that is gone.
        purged: u64,
    },
    /// The data directory is that of one node of several.
    #[error(
        "the data directory belongs to a cluster of {voters} voters and cannot be served by one \
         process alone"
    )]
    NotAlone {
        /// How many voters the cluster has.
        voters: usize,
    },
    /// Not everything was applied within the time allowed.
    #[error("entries up to {upto} were not applied within {waited_ms} ms")]
    Timeout {
        /// The index that had to be reached.
        upto: u64,
        /// The time allowed.
        waited_ms: u64,
    },
}

impl NodeError {
    pub(super) fn stopped(doing: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Stopped {
            doing,
            reason: reason.to_string(),
        }
    }
}

/// True when derived state has seen an entry that the log has not.
pub(super) fn is_ahead(applied: Option<LogId>, last: Option<LogId>) -> bool {
    applied.map(|id| id.index) > last.map(|id| id.index)
}
