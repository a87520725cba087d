/// Why a check did not decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// A transaction that has not ended holds the fence row (SQLite: the database).
    #[error(
        "{database}: the local transaction is still running; gave up its lock after {limit_ms} ms"
    )]
    Locked {
        /// Where.
        database: String,
        /// How long the check waited for the lock.
        limit_ms: u64,
    },
    /// No answer came in time.
    #[error("{target}: no answer within {limit_ms} ms")]
    TimedOut {
        /// The database or producer group.
        target: String,
        /// How long the check waited.
        limit_ms: u64,
    },
    /// The connection was lost after the question went out: it may have decided or not.
    #[error("{target}: connection lost while asking")]
    ConnectionLost {
        /// The database or producer group.
        target: String,
    },
    /// The database gave an error that decides nothing.
    #[error("{database}: {message} (code {code})")]
    Statement {
        /// Where.
        database: String,
        /// SQLSTATE, or SQLite's result code.
        code: String,
        /// The database's words.
        message: String,
    },
    /// The fence row is not what the fence writes.
    #[error("{database}: the decision of {transaction_id} is {value}; expected commit or rollback")]
    BadDecision {
        /// Where.
        database: String,
        /// The row's id.
        transaction_id: uuid::Uuid,
        /// What stands there.
        value: String,
    },
    /// The transaction is so old that its fence row may have been deleted, by this sidecar or
    /// by another one of the group: an absent row proves nothing any more.
    #[error(
        "prepared {age_ms} ms ago, and fence rows are kept for {retention_ms} ms: decide it by hand"
    )]
    OlderThanFence {
        /// How long ago it was prepared.
        age_ms: u64,
        /// How long fence rows are kept.
        retention_ms: u64,
    },
    /// The application answered that it does not know.
    #[error("producer group {producer_group} answered that it does not know yet")]
    ApplicationUnsure {
        /// Who answered.
        producer_group: String,
    },
    /// Every connected replica has its limit of unanswered questions.
    #[error(
        "producer group {producer_group}: all {replicas} replicas are busy with {limit} questions each"
    )]
    ReplicasBusy {
        /// Who was to be asked.
        producer_group: String,
        /// How many are connected.
        replicas: usize,
        /// Unanswered questions per replica.
        limit: usize,
    },

    /// The database cannot be reached, or refused the connection.
    #[error("{database}: cannot connect: {message}")]
    Connect {
        /// Where.
        database: String,
        /// What the system or the database said.
        message: String,
    },
    /// The connection led to a standby or a read-only database; only the primary knows.
    #[error("{database} does not accept writes; check-back asks the primary only")]
    NotPrimary {
        /// Where.
        database: String,
    },
    /// There is no fence table, or it is not usable.
    #[error("{database}: {message}; create the tables with `outrigger migrate --database URL`")]
    NoFenceTable {
        /// Where.
        database: String,
        /// The database's words.
        message: String,
    },
    /// The database is short of something, damaged, or shutting down.
    #[error("{database} is out of order: {message} (code {code})")]
    OutOfOrder {
        /// Where.
        database: String,
        /// SQLSTATE, or SQLite's result code.
        code: String,
        /// The database's words.
        message: String,
    },
    /// No replica of the producer group is connected.
    #[error("no replica of producer group {producer_group} is connected to this sidecar")]
    NoReplica {
        /// Who was to be asked.
        producer_group: String,
    },
}

impl Undecided {
    /// Whether nobody could be asked at all, so that no attempt was made.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Locked { .. }
            | Self::TimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::Statement { .. }
            | Self::BadDecision { .. }
            | Self::OlderThanFence { .. }
            | Self::ApplicationUnsure { .. }
            | Self::ReplicasBusy { .. } => false,
            Self::Connect { .. }
            | Self::NotPrimary { .. }
            | Self::NoFenceTable { .. }
            | Self::OutOfOrder { .. }
            | Self::NoReplica { .. } => true,
        }
    }
}
