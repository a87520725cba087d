use outrigger_core::{
    breaker,
    limits::{SAGA_CALL_TIMEOUT_MS_MAX, SAGA_PAYLOAD_BYTES_MAX},
};

/// How participants are called.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls of one authority under way at once; further ones wait. Default 256.
    pub calls_per_authority_max: usize,
    /// Calls of one authority that wait; further ones are not tried. Default 4,096.
    pub waiting_calls_per_authority_max: usize,
    /// How long a call waits for its turn before it counts as not tried. Default 1,000.
    pub waiting_ms_max: u64,
    /// Connections of one HTTP authority that are kept open while nobody uses them.
    /// Default 64.
    pub idle_connections_per_authority_max: usize,
    /// How long such a connection is kept. Default 30,000, less than the 60 s after which
    /// common servers close it.
    pub idle_connection_ms: u64,
    /// How long looking up a name may take, and then connecting, all its addresses
    /// together. Default 3,000.
    pub connect_timeout_ms: u64,
    /// How long the addresses of a name, or that it has none, are taken for granted before
    /// they are looked up again. Default 1,000.
    pub addresses_ms: u64,
    /// How often a gRPC connection with calls under way is asked whether it lives.
    /// Default 10,000.
    pub grpc_keep_alive_interval_ms: u64,
    /// How long such a question may stay without an answer. Default 5,000.
    pub grpc_keep_alive_timeout_ms: u64,
    /// The longest that a call may take, whatever it asks for. Default 1 h.
    pub call_timeout_ms_max: u64,
    /// The largest output that is taken, whatever a call asks for. Default 4 MiB.
    pub response_bytes_max: usize,
    /// How much of an answer without an output is read. Default 64 KiB.
    pub words_bytes_max: usize,
    /// The largest head of an HTTP answer. Default 64 KiB.
    pub response_head_bytes_max: usize,
    /// The soonest that a participant may ask to be asked again. Default 10.
    pub retry_after_ms_min: u64,
    /// The latest that a participant may ask to be asked again. Default 60,000.
    pub retry_after_ms_max: u64,
    /// Ceiling of the jitter in the time after which a call that was not tried is worth
    /// trying. Default 1,000.
    pub not_tried_jitter_ms: u64,
    /// Authorities that are known at once. A new one takes the place of the one that was
    /// unused for longest; while all are in use it is not called. Default 4,096.
    pub authorities_max: usize,
    /// After so long without a call an authority is forgotten, its connections and its
    /// breaker included. Default 300,000.
    pub authority_idle_ms: u64,
    /// When calls are kept away from an authority.
    pub breaker: breaker::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls_per_authority_max: 256,
            waiting_calls_per_authority_max: 4_096,
            waiting_ms_max: 1_000,
            idle_connections_per_authority_max: 64,
            idle_connection_ms: 30_000,
            connect_timeout_ms: 3_000,
            addresses_ms: 1_000,
            grpc_keep_alive_interval_ms: 10_000,
            grpc_keep_alive_timeout_ms: 5_000,
            call_timeout_ms_max: SAGA_CALL_TIMEOUT_MS_MAX,
            response_bytes_max: SAGA_PAYLOAD_BYTES_MAX as usize,
            words_bytes_max: 64 << 10,
            response_head_bytes_max: 64 << 10,
            retry_after_ms_min: 10,
            retry_after_ms_max: 60_000,
            not_tried_jitter_ms: 1_000,
            authorities_max: 4_096,
            authority_idle_ms: 300_000,
            breaker: breaker::Options::default(),
        }
    }
}
