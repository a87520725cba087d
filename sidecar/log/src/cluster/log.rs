//! The log as one of several.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Leadership, Member, Members, MembershipError, Purpose, Replica};
use crate::log::Log;
use crate::submit::SubmitError;

impl Log {
    /// Serves a stream of frames that another node has opened through its
    /// [`Transport`](super::Transport), and gives back what to answer. The stream ends when
    /// either side drops its end, or when a frame cannot be understood.
    ///
    /// The caller has made sure that it is really node `from`, of this cluster, that speaks.
    #[must_use]
    pub fn serve_peer(
        &self,
        from: u64,
        purpose: Purpose,
        frames: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Bytes> {
        self.node().serve_peer(from, purpose, frames)
    }

    /// Who leads, and when that changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.node().leadership()
    }

    /// True while this node can answer reads alone: it leads, and it has heard from a majority
    /// so recently that nobody else can lead.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.node().has_lease()
    }

    /// Makes sure that this node leads now, by asking the others.
    ///
    /// # Errors
    ///
    /// When it does not lead, cannot reach a majority, or is closed.
    pub async fn confirm_leadership(&self) -> Result<(), SubmitError> {
        self.node().confirm_leadership().await
    }

    /// Returns when everything that was acknowledged before the call can be read on this node,
    /// whether it leads or not.
    ///
    /// # Errors
    ///
    /// When there is no leader that can be reached, or the log is closed.
    pub async fn read_barrier(&self) -> Result<(), SubmitError> {
        self.node().read_barrier().await
    }

    /// Term and index of the last entry that was applied on this node; zeros before the first.
    #[must_use]
    pub fn applied(&self) -> (u64, u64) {
        self.node().applied()
    }

    /// Who belongs to the cluster, as far as this node knows.
    #[must_use]
    pub fn members(&self) -> Members {
        self.node().members()
    }

    /// How far the nodes are, as far as this one knows; empty when it does not lead.
    #[must_use]
    pub fn replication(&self) -> Vec<Replica> {
        self.node().replication()
    }

    /// Begins to send the log to a node, which does not vote. Returns when that is committed;
    /// [`Log::replication`] tells when the node has caught up.
    ///
    /// # Errors
    ///
    /// When this node does not lead, another change is on its way, or a member has that number.
    pub async fn add_learner(&self, id: u64, member: Member) -> Result<(), MembershipError> {
        self.node().add_learner(id, member).await
    }

    /// Takes out a node that does not vote.
    ///
    /// # Errors
    ///
    /// When this node does not lead, another change is on its way, or there is no such learner.
    pub async fn remove_learner(&self, id: u64) -> Result<(), MembershipError> {
        self.node().remove_learner(id).await
    }

    /// Makes these members the voters, in one change during which the old and the new ones
    /// decide together. Voters that are left out are no members any more.
    ///
    /// # Errors
    ///
    /// When this node does not lead, another change is on its way, or one of them is unknown.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), MembershipError> {
        self.node().set_voters(voters).await
    }

    /// Hands leadership over to a voter, or to the one that lacks the fewest entries, and tells
    /// who leads then. Nothing is taken meanwhile.
    ///
    /// # Errors
    ///
    /// When this node does not lead, or the other one does not take over.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, MembershipError> {
        self.node().transfer_leadership(to).await
    }

    /// Lets another voter lead, when this node leads and another one can, and says in the log
    /// how that went. [`Log::shutdown`] does so by itself; who has more to end does it before.
    pub async fn step_back(&self) {
        self.node().step_back().await;
    }
}
