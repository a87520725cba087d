//! Delivering messages to consumers.
//!
//! One `worker` for every consumer group and topic that is being consumed owns the lease
//! machines of the topic's queues. Consumers join it as members with credits; what they
//! ack is recorded in the log in batches and answered when it is durable. A `session` is
//! one Consume stream. Nothing here outlives the process: a worker that starts anew goes
//! on from what the log recorded.

mod filter;
mod frames;
mod lane;
mod log_store;
mod member;
mod receive;
mod registry;
mod routing;
mod service;
mod session;
mod store;
mod ticket;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

pub use service::Service;
pub(crate) use service::{not_leading, shutting_down};
pub(crate) use store::{GroupInfo, NotRecorded, Store, TopicInfo};

pub(crate) use filter::Filter;
pub(crate) use receive::Receive;
pub(crate) use routing::{AskedExtend, AskedNack, Settle};
pub(crate) use session::{Asked, Subscribed, too_many_credits};

use outrigger_core::limits;
use outrigger_log::Durability;

/// How messages are delivered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Topics and consumer groups are made when they are first asked for.
    pub auto_create: bool,
    /// Queues of a topic that is made so.
    pub queues_default: u32,
    /// When sends to such a topic are answered that do not choose it themselves.
    pub durability_default: Durability,
    /// Deliveries before a dead letter, of a consumer group that is made so.
    pub max_attempts: u32,
    /// Waits before the second, third, ... delivery, of a consumer group that is made so.
    pub retry_delays_ms: Vec<u64>,
    /// A lease's time when the consumer does not say.
    pub invisible_ms: u64,
    /// Messages of one queue that one worker holds: leased, waiting, or blocked behind
    /// another one of their message group.
    pub held_count_max: usize,
    /// Messages leased to one member before it is another one's turn.
    pub chunk_count_max: usize,
    /// Bytes of messages in one frame of a stream; a larger message has its own frame.
    pub frame_bytes_max: usize,
    /// Messages in one frame of a stream.
    pub frame_count_max: usize,
    /// Frames that wait for a slow connection.
    pub frames_waiting_max: usize,
    /// Requests of one stream that wait for their result.
    pub requests_waiting_max: usize,
    /// Submissions of one worker that the log has not answered.
    pub recordings_max: usize,
    /// How long a worker goes on trying when the log is overloaded.
    pub record_retry_ms_max: u64,
    /// After this time without a consumer a worker ends.
    pub idle_ms: u64,
    /// How long a stream that is being closed waits for results.
    pub drain_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auto_create: true,
            queues_default: limits::QUEUES_COUNT_DEFAULT,
            durability_default: Durability::Synced,
            max_attempts: limits::ATTEMPTS_COUNT_DEFAULT,
            retry_delays_ms: limits::RETRY_DELAYS_MS_DEFAULT.into(),
            invisible_ms: limits::LEASE_MS_DEFAULT,
            held_count_max: 65_536,
            chunk_count_max: 512,
            frame_bytes_max: 256 * 1024,
            frame_count_max: 1_024,
            frames_waiting_max: 4,
            requests_waiting_max: 256,
            recordings_max: 16,
            record_retry_ms_max: 2_000,
            idle_ms: 10_000,
            drain_ms: 2_000,
        }
    }
}
