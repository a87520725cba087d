/// How calls are passed to the leader.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call waits for a leader and is repeated, from its arrival, before it is
    /// refused with UNAVAILABLE. Default 5,000.
    pub leader_wait_ms: u64,
    /// How long a call that may not be repeated waits for the answer of a node that does not
    /// lead any more. Default 500.
    pub last_answer_ms: u64,
    /// The largest request that is kept to be repeated; a larger one is passed once.
    /// Default 16 MiB.
    pub request_bytes_max: usize,
    /// The largest answer that is held back until it is whole. Default 16 MiB.
    pub response_bytes_max: usize,
    /// Unanswered requests that are kept of one Publish stream. Default 1,024.
    pub publish_requests_max: usize,
    /// Their bytes; reached, the stream is read no further until there is an answer.
    /// Default 64 MiB.
    pub publish_bytes_max: usize,
    /// How long connecting to a node may take. Default 500.
    pub connect_timeout_ms: u64,
    /// How often a connection that is in use is tried. Default 1,000.
    pub keep_alive_interval_ms: u64,
    /// How long it may be silent then. Default 2,000.
    pub keep_alive_timeout_ms: u64,
    /// Connections that are kept. Default 64.
    pub connections_max: usize,
    /// Connections to one node, which data groups share. Default 4.
    pub connections_per_node_max: u32,
    /// The wait before an attempt is repeated; it doubles up to `retry_ms_max`. Default 5.
    pub retry_ms_min: u64,
    /// The longest wait between two attempts. Default 80.
    pub retry_ms_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            leader_wait_ms: 5_000,
            last_answer_ms: 500,
            request_bytes_max: 16 << 20,
            response_bytes_max: 16 << 20,
            publish_requests_max: 1_024,
            publish_bytes_max: 64 << 20,
            connect_timeout_ms: 500,
            keep_alive_interval_ms: 1_000,
            keep_alive_timeout_ms: 2_000,
            connections_max: 64,
            connections_per_node_max: 4,
            retry_ms_min: 5,
            retry_ms_max: 80,
        }
    }
}
