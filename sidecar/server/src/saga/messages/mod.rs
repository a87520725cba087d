//! Steps and results of sagas as messages: how they are sent, and how replies come in.

mod port_messages;
mod replies;

pub(crate) use port_messages::PortMessages;

/// Where participants send what became of a step that was a message.
pub(crate) const REPLY_TOPIC: &str = "outrigger.saga.replies";
/// Who sends the messages and receives the replies.
const GROUP: &str = "outrigger-sagas";
/// Of the message and of its reply.
const SAGA_ID: &str = "outrigger-saga-id";
const STEP: &str = "outrigger-step";
const PHASE: &str = "outrigger-phase";
/// Of the reply: `success` or `failure`.
const OUTCOME: &str = "outrigger-outcome";
