/// A durable change of a [`Progress`](super::Progress). Applying one twice changes nothing
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// These messages are done: acknowledged, filtered out, or gone to the dead-letter topic.
    Acked {
        /// The first offset.
        first: u64,
        /// The last offset, included.
        last: u64,
    },
    /// This message waits for its next delivery.
    Retry {
        /// The message.
        offset: u64,
        /// The number of that next delivery; 2 after the first failure.
        attempt: u32,
        /// When it becomes visible again.
        visible_at_ms: u64,
    },
}
