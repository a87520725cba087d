use outrigger_log::SubmitError;

/// Why a guard gave no answer. A guard that cannot be asked is never taken for free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configured URL is not usable.
    #[error("guards.redis_url is not usable: {message}")]
    Url {
        /// What is wrong.
        message: String,
    },
    /// A call named a backend that this sidecar has not been configured for.
    #[error("guards in {backend} are not configured; set guards.redis_url")]
    NotConfigured {
        /// Which one.
        backend: &'static str,
    },
    /// Redis cannot be reached, is starting, or is not the primary. The call may or may not
    /// have happened; repeat it with the same token.
    #[error("Redis at {server} is not available: {message}")]
    Unavailable {
        /// Where.
        server: String,
        /// What the system or Redis said.
        message: String,
    },
    /// No answer in time. The call may or may not have happened; repeat it with the same
    /// token.
    #[error("Redis at {server} did not answer within {limit_ms} ms")]
    TimedOut {
        /// Where.
        server: String,
        /// How long the call waited.
        limit_ms: u64,
    },
    /// Redis refused: out of memory, no permission, or a key of another kind.
    #[error("Redis at {server} refused: {message}")]
    Refused {
        /// Where.
        server: String,
        /// Redis' words.
        message: String,
    },
    /// The log store could not take the call.
    #[error(transparent)]
    Log(#[from] SubmitError),
    /// The leader of the cluster could not be asked, or refused. Whether the call happened,
    /// the reason tells.
    #[error("{message}")]
    Remote {
        /// The gRPC status code.
        code: tonic::Code,
        /// A stable name in capitals.
        reason: &'static str,
        /// Its words.
        message: String,
    },
    /// The log store answered something else than a guard does.
    #[error("the log answered {answer}")]
    Unexpected {
        /// What it answered.
        answer: String,
    },
}

impl Error {
    /// Whether the same call may succeed later on.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::TimedOut { .. } => true,
            Self::Log(error) => error.is_retryable(),
            Self::Remote { code, .. } => *code == tonic::Code::Unavailable,
            Self::Url { .. }
            | Self::NotConfigured { .. }
            | Self::Refused { .. }
            | Self::Unexpected { .. } => false,
        }
    }
}
