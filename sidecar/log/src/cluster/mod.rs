//! Several nodes that keep one log: who they are, how they reach each other, and who leads.
//!
//! The log knows no network. It speaks frames over a [`Transport`], which whoever opens the
//! log provides.

mod error;
mod identity;
mod leadership;
mod log;
mod member;
mod transport;

pub use crate::raft::seed_elections;
pub use error::MembershipError;
pub use identity::Identity;
pub use leadership::Leadership;
pub use member::{Member, Members, Replica};
pub use transport::{Exchange, FRAME_BYTES_MAX, OpenExchange, Purpose, PurposeKind, Transport};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How a node begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first start of a new cluster: it begins with these voters, this node among them. On
    /// exactly one node, once; on a node that has begun already it changes nothing.
    Form(BTreeMap<u64, Member>),
    /// Go on where the node stopped, or wait until a leader makes contact.
    Wait,
}

/// What a node needs to be one of several.
#[derive(Clone)]
pub struct ClusterOptions {
    /// The way to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// How the node begins.
    pub start: Start,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
