//! The gRPC edge: turns requests into commands for the log and outcomes into answers.

mod admin;
mod arrivals;
mod consumer;
mod durability;
mod elsewhere;
mod ending;
mod groups;
mod guard;
mod message;
mod numbering;
mod operation;
mod outcome;
mod producer;
mod publish;
mod refusal;
pub mod status;
mod topics;
mod transaction;

pub use self::{admin::AdminService, guard::GuardService, producer::ProducerService};
pub(crate) use self::{
    arrivals::Arrivals,
    consumer::{check_batch, check_request as check_consume_request, not_subscribed},
    elsewhere::Elsewhere,
    ending::Ending,
    groups::Groups,
    message::{tag_hash, with_body},
    publish::too_many_operations,
    refusal::unexpected as unexpected_outcome,
    topics::{Topics, unknown as unknown_topic},
};
