/// Limits of the Publish client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOptions {
    /// How many encoded bytes may be unanswered before callers have to wait. Every
    /// operation counts as at least 256 bytes, which bounds their number as well.
    /// Default 32 MiB.
    pub in_flight_bytes_max: usize,
    /// The largest single operation. Default 8 MiB.
    pub operation_bytes_max: usize,
    /// Operations in one frame; the protocol allows 4,096. Default 4,096.
    pub frame_operations_max: usize,
    /// A frame is closed when it has reached this size. Default 512 KiB.
    pub frame_bytes: usize,
    /// Frames sent and not yet answered. While that many are under way the next frame
    /// grows: that is how batches form without waiting for anything. Default 4.
    pub frames_in_flight_max: usize,
    /// How long an operation is tried, lost connections included, before it fails with
    /// [`Unanswered`](super::Error::Unanswered) or
    /// [`Unavailable`](super::Error::Unavailable). Default 10 s.
    pub retry_total_ms: u64,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            in_flight_bytes_max: 32 * 1024 * 1024,
            operation_bytes_max: 8 * 1024 * 1024,
            frame_operations_max: 4096,
            frame_bytes: 512 * 1024,
            frames_in_flight_max: 4,
            retry_total_ms: 10_000,
        }
    }
}
