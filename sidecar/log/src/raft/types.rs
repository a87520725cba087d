use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};

use crate::cluster::Member;
use crate::command::Outcome;
use crate::submit::Received;

/// Identifies a node of the cluster.
pub(crate) type NodeId = u64;

/// A candidate or leader: its term, and who it is.
pub(crate) type LeaderId = leader_id_std::LeaderId<u64, NodeId>;

/// A leader as entries name it. A term has at most one leader, so the term alone says who.
pub(crate) type LeaderTerm = <LeaderId as RaftLeaderId>::Committed;

/// Term and index of an entry.
pub(crate) type LogId = openraft::LogId<LeaderTerm>;

/// Who votes and who learns.
pub(crate) type Membership = openraft::Membership<NodeId, Member>;

/// A membership and the entry that set it.
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderTerm, NodeId, Member>;

/// What the Raft group is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Vec<Outcome>;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::Vote<LeaderId>;
    type Payload = EntryPayload<Proposal, NodeId, Member>;
    type Entry = openraft::Entry<LeaderTerm, Self::Payload>;
    type AsyncRuntime = super::runtime::Runtime;
    type Responder<T>
        = Completion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// The content of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// An encoded batch of commands.
    pub(crate) body: Bytes,
    /// Who is answered when a majority has received it. No part of the content: it stays on
    /// the node that has proposed it.
    pub(crate) received: Option<Arc<Received>>,
}

impl Proposal {
    /// An encoded batch as the content of an entry.
    pub(crate) fn new(body: Bytes) -> Self {
        Self {
            body,
            received: None,
        }
    }

    pub(crate) fn with_received(self, received: Option<Arc<Received>>) -> Self {
        Self { received, ..self }
    }
}

impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body
    }
}

impl Eq for Proposal {}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.body.len())
    }
}

/// What to do when a proposal was applied or refused. Dropped without a call when the node
/// stops before.
pub(crate) struct Completion<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Completion<T> {
    pub(crate) fn new(complete: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(complete))
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Completion<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
