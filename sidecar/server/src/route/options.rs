/// How calls are taken to several data groups.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request that is read, in bytes; a larger one is refused. Default 16 MiB.
    pub request_bytes_max: usize,
    /// The largest answer of a data group that is put together with others, in bytes. Default
    /// 64 MiB.
    pub response_bytes_max: usize,
    /// Requests of one Publish stream that wait for their answer. Default 1,024.
    pub publish_requests_max: usize,
    /// Their bytes; reached, the stream is read no further until there is an answer. Default
    /// 64 MiB.
    pub publish_bytes_max: usize,
    /// Requests of one Consume stream with receipts that wait for their result. Default 256.
    pub consume_requests_max: usize,
    /// How long receipts wait for a data group whose stream was lost, in milliseconds, before
    /// they are answered with an error. Default 2,000.
    pub receipt_wait_ms: u64,
    /// How long a stream that is being closed waits for results, in milliseconds. Default
    /// 2,000.
    pub drain_ms: u64,
    /// The wait before a lost stream to a data group is opened again, in milliseconds; it
    /// doubles up to `retry_ms_max`. Default 10.
    pub retry_ms_min: u64,
    /// The longest wait between two attempts, in milliseconds. Default 500.
    pub retry_ms_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 16 << 20,
            response_bytes_max: 64 << 20,
            publish_requests_max: 1_024,
            publish_bytes_max: 64 << 20,
            consume_requests_max: 256,
            receipt_wait_ms: 2_000,
            drain_ms: 2_000,
            retry_ms_min: 10,
            retry_ms_max: 500,
        }
    }
}
