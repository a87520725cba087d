//! Passing calls to the leader.
//!
//! Every process of a cluster takes every call: a node that leads serves it, another one, and
//! a sidecar, pass it on as it is, without decoding it. Whoever took the call from the
//! application waits for a leader when there is none, and repeats what was not answered as
//! far as that is harmless ([`Repeat`]). Publish streams survive a change of the leader;
//! other streams end, and their clients open them again.
//!
//! Each data group has a leader of its own. [`Ways`] are the ways to all of them, and
//! [`Port`] chooses the one that a call takes.

mod body;
pub(crate) mod data_group;
pub(crate) mod failure;
mod finder;
mod forwarder;
mod method;
mod options;
mod pool;
mod port;
mod publish;
mod remote_guards;
mod remote_log;
mod service;
mod sidecar;
mod target;
#[cfg(test)]
mod tests;
mod unary;
mod ways;

pub(crate) use data_group::unknown as unknown_data_group;
pub use finder::{Finder, FinderOptions, Leaders};
pub use forwarder::Forwarder;
pub use method::{Method, Repeat};
pub use options::Options;
pub use port::{Opened, Port, PortLayer};
pub(crate) use publish::{Framed, Frames, TooLong};
pub use remote_guards::RemoteGuards;
pub use remote_log::{RemoteLog, RemoteLogOptions};
pub use service::{Forward, ForwardLayer};
pub use sidecar::run as run_sidecar;
pub use target::{Target, follow};
pub use ways::Ways;
