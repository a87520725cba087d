use bytes::Bytes;
use futures::future::BoxFuture;

/// What steps and deliveries that are messages are sent with.
pub trait Messages: Send + Sync + 'static {
    /// Sends one message, and answers when it is durable.
    ///
    /// # Errors
    /// What went wrong, for people. It may have been sent all the same.
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<(), String>>;
}

/// A message of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub topic: String,
    /// May be empty.
    pub tag: String,
    /// The id of the saga.
    pub key: String,
    /// Which saga, which step and so on; see `Saga` in the protocol.
    pub properties: Vec<(&'static str, String)>,
    /// The payload.
    pub body: Bytes,
}

/// Nowhere to send messages to: every publication fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMessages;

impl Messages for NoMessages {
    fn publish(&self, _message: Outgoing) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Err("this process sends no messages".to_owned()) })
    }
}
