/// How sagas are carried out.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long an executor counts as alive after it was heard last. Default 10,000.
    pub lease_ms: u64,
    /// How often it says that it is alive. Default 1,000.
    pub beat_interval_ms: u64,
    /// Sagas that are held with everything that belongs to them. Default 32,768, about 2 KB
    /// each and their payloads. New ones beyond it are started for whoever has room.
    pub sagas_max: usize,
    /// Sagas that are asleep, about 200 bytes each. Default 1,000,000.
    pub sagas_asleep_max: usize,
    /// Most sagas that are taken over with one beat. Default 1,024.
    pub take_max: u32,
    /// Sagas that are read at once. Default 64.
    pub reads_max: usize,
    /// Most commands that go to the log together. Default 256.
    pub batch_commands_max: usize,
    /// About the most bytes that go to the log together. Default 2 MiB.
    pub batch_bytes_max: usize,
    /// Batches of one data group under way at once. Default 4.
    pub batches_max: usize,
    /// Calls, publications and deliveries under way at once. Default 4,096.
    pub calls_max: usize,
    /// Calls of one host and port under way at once. Default 256, as many as the caller of
    /// participants lets through.
    pub calls_per_lane_max: usize,
    /// Requests to the executor that wait. Default 4,096; further ones wait outside.
    pub requests_max: usize,
    /// First wait before the log is asked again after it could not be reached. Default 50.
    pub retry_base_ms: u64,
    /// Longest such wait. Default 1,000.
    pub retry_cap_ms: u64,
    /// Longest wait between two reads of a saga that somebody waits for and that is carried
    /// out elsewhere. Default 1,000.
    pub poll_cap_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease_ms: 10_000,
            beat_interval_ms: 1_000,
            sagas_max: 32_768,
            sagas_asleep_max: 1_000_000,
            take_max: 1_024,
            reads_max: 64,
            batch_commands_max: 256,
            batch_bytes_max: 2 << 20,
            batches_max: 4,
            calls_max: 4_096,
            calls_per_lane_max: 256,
            requests_max: 4_096,
            retry_base_ms: 50,
            retry_cap_ms: 1_000,
            poll_cap_ms: 1_000,
        }
    }
}
