/// Why commands were not taken, or what became of them is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too much is on its way already. Nothing was taken; try again after a moment.
    #[error("{in_flight_bytes} bytes are on their way, the limit is {limit_bytes}")]
    Overloaded {
        /// Bytes of commands that were not answered yet.
        in_flight_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// One command is larger than an entry may be.
    #[error("a command of {bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The size of the command.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// There is no space for another segment of the log. Nothing was taken; what was
    /// acknowledged before is safe, and the log goes on when there is space.
    #[error("the disk is full: the next segment of the log cannot be prepared")]
    DiskFull,
    /// The disk is almost full. No new messages are taken, while acknowledgements and verdicts
    /// are; try again when there is space.
    #[error(
        "{used_percent} % of the disk are used; from {limit_percent} % on no new messages are taken"
    )]
    DiskAlmostFull {
        /// How much of the disk is used, in percent.
        used_percent: u64,
        /// The limit, in percent.
        limit_percent: u64,
    },
    /// This node does not lead. Nothing was taken.
    #[error("this node does not lead its group{}", leader.map(|id| format!(", node {id} does")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// The leader changed on the way, or the log has stopped. The commands may have been
    /// applied or not: submit again what is idempotent.
    #[error(
        "the leader changed or the log stopped: whether the commands were applied is not known"
    )]
    OutcomeUnknown,
    /// The log was shut down. Nothing was taken.
    #[error("the log is closed")]
    Closed,
}

impl SubmitError {
    /// True when the same commands may succeed later, here or on another node.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::DiskFull
            | Self::DiskAlmostFull { .. }
            | Self::NotLeader { .. }
            | Self::OutcomeUnknown
            | Self::Closed => true,
            Self::TooLarge { .. } => false,
        }
    }
}
