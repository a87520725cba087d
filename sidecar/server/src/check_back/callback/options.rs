/// How applications are asked over their CheckBack streams.
#[derive(Clone, Debug)]
pub struct CallbackOptions {
    /// How long one question waits for an answer, all replicas together. Default 10,000.
    pub answer_timeout_ms: u64,
    /// After so long without an answer one more replica is asked. Default 3,000.
    pub next_replica_after_ms: u64,
    /// Replicas asked about one transaction at one time. Default 3.
    pub replicas_asked_max: usize,
    /// Questions that one replica has not answered yet; beyond, it counts as busy.
    /// Default 1,024.
    pub unanswered_questions_max: usize,
    /// Questions in one message to a replica. Default 256.
    pub batch_questions_max: usize,
    /// Connected replicas of one producer group. Default 1,024.
    pub replicas_max: usize,
    /// How long a new stream may take to say whom it answers for. Default 10,000.
    pub register_timeout_ms: u64,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        Self {
            answer_timeout_ms: 10_000,
            next_replica_after_ms: 3_000,
            replicas_asked_max: 3,
            unanswered_questions_max: 1_024,
            batch_questions_max: 256,
            replicas_max: 1_024,
            register_timeout_ms: 10_000,
        }
    }
}
