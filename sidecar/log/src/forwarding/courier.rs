use futures::future::BoxFuture;

use crate::command::ForwardedMessage;

/// Why messages were not delivered, or why it is not known. They are delivered again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CourierError {
    /// The leader of the other data group was not reached, or did not answer.
    #[error("data group {target} does not answer: {reason}")]
    Unreachable {
        /// The other data group.
        target: u32,
        /// What happened.
        reason: String,
    },
    /// It answered that it does not take them.
    #[error("data group {target} refuses messages: {reason}")]
    Refused {
        /// The other data group.
        target: u32,
        /// What it said.
        reason: String,
    },
}

/// The way to the leaders of other data groups.
pub trait Courier: Send + Sync {
    /// Delivers messages by the command [`Forwarded`](crate::Command::Forwarded), and answers
    /// up to which number of this source the target has all of them, durably: the `upto` of
    /// [`Outcome::Forwarded`](crate::Outcome::Forwarded). It may be called again with the same
    /// messages at any time, and should fail rather than wait for long.
    fn deliver(
        &self,
        source: u32,
        target: u32,
        first: u64,
        messages: Vec<ForwardedMessage>,
    ) -> BoxFuture<'static, Result<u64, CourierError>>;
}
