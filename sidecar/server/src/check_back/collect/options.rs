/// How old fence rows are deleted.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// A row stays at least so long. It must be longer than the log remembers a verdict
    /// (24 h), and longer than any local transaction runs. Default 7 days.
    pub retention_ms: u64,
    /// A row also stays unless it is so much older than the oldest transaction of its
    /// producer group that waits for its verdict. Default 1 hour.
    pub margin_ms: u64,
    /// From one round to the next, and from the start to the first one. Default 10 minutes.
    pub interval_ms: u64,
    /// Rows that one statement deletes. Default 1,000.
    pub batch_rows_max: usize,
    /// From one batch to the next, so that the application's own work comes first.
    /// Default 100.
    pub batch_pause_ms: u64,
    /// How long connecting, or one statement, may take. Default 10,000.
    pub step_timeout_ms: u64,
    /// Waiting transactions that are looked through at once. Default 1,024.
    pub page_transactions_max: usize,
}

impl Default for CollectOptions {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            retention_ms: 7 * 24 * HOUR_MS,
            margin_ms: HOUR_MS,
            interval_ms: HOUR_MS / 6,
            batch_rows_max: 1_000,
            batch_pause_ms: 100,
            step_timeout_ms: 10_000,
            page_transactions_max: 1_024,
        }
    }
}
