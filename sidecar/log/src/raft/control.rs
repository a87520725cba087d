//! Leadership and membership of the group, as others see and change them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::{ChangeMembers, Instant};
use tokio::sync::watch;

use super::leadership::is_alone;
use super::node::Node;
use super::types::{LeaderTerm, NodeId, TypeConfig};
use crate::apply::Apply;
use crate::cluster::{Leadership, Member, Members, MembershipError, Replica};
use crate::submit::SubmitError;

/// How long the successor may take to lead, once it has all entries.
pub(super) const TRANSFER_MS_MAX: u64 = 2_000;
/// How often it is told that it may.
const OFFER_INTERVAL_MS: u64 = 400;
/// How long it is waited before, until it has all entries. Nothing is proposed so long.
const CATCH_UP_MS_MAX: u64 = 2_000;
/// How often it is looked whether it has.
const CATCH_UP_POLL_MS: u64 = 2;

type Changed<T> = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

impl<A: Apply> Node<A> {
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    pub(crate) fn has_lease(&self) -> bool {
        if !self.leadership.borrow().is_leading() {
            return false;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.membership().voter_ids();
        // Who was told to take over need not wait until the lease is over.
        let given_away = self.given_away.load(SeqCst) == metrics.current_term;
        if !metrics.state.is_leader() || given_away || !voters.any(|id| id == metrics.id) {
            return false;
        }
        is_alone(&metrics)
            || metrics
                .last_quorum_acked
                .is_some_and(|acked| acked.elapsed() < self.timing.lease())
    }

    pub(crate) async fn confirm_leadership(&self) -> Result<(), SubmitError> {
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        confirmed.map(drop).map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
                SubmitError::NotLeader {
                    leader: forward.leader_id,
                }
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
                SubmitError::NotLeader { leader: None }
            }
            RaftError::Fatal(_) => SubmitError::Closed,
        })
    }

    pub(crate) fn members(&self) -> Members {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<_> = membership.voter_ids().collect();
        let (mut members, joint) = (Members::default(), membership.get_joint_config().len() > 1);
        members.joint = joint;
        for (id, member) in membership.nodes() {
            let of_role = match voters.contains(id) {
                true => &mut members.voters,
                false => &mut members.learners,
            };
            of_role.insert(*id, member.clone());
        }
        members
    }

    pub(crate) fn replication(&self) -> Vec<Replica> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.as_ref();
        let Some(replication) = &metrics.replication else {
            return Vec::new();
        };
        let replica = |(id, matched): (&NodeId, &Option<super::LogId>)| {
            let acked = heard.and_then(|heard| heard.get(id).copied().flatten());
            let own = *id == metrics.id;
            Replica {
                id: *id,
                matched_index: matched.map_or(0, |id| id.index),
                last_heard_ms: match own {
                    true => Some(0),
                    false => acked.map(|at| at.elapsed().as_millis() as u64),
                },
            }
        };
        replication.iter().map(replica).collect()
    }

    pub(crate) async fn add_learner(
        &self,
        id: NodeId,
        member: Member,
    ) -> Result<(), MembershipError> {
        let members = self.members();
        let known = members.voters.get(&id).or(members.learners.get(&id));
        if let Some(known) = known {
            return match *known == member {
                true => Ok(()),
                false => Err(MembershipError::Exists { id }),
            };
        }
        changed(self.raft.add_learner(id, member, false).await)
    }

    pub(crate) async fn remove_learner(&self, id: NodeId) -> Result<(), MembershipError> {
        if !self.members().learners.contains_key(&id) {
            return Err(MembershipError::Unknown { id });
        }
        let changes = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
        changed(self.raft.change_membership(changes, false).await)
    }

    pub(crate) async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let changes = ChangeMembers::ReplaceAllVoters(voters);
        changed(self.raft.change_membership(changes, false).await)
    }

    /// Tells who leads then. What is submitted meanwhile waits, and is taken again when nobody
    /// else leads in the end.
    pub(crate) async fn transfer_leadership(
        &self,
        to: Option<NodeId>,
    ) -> Result<NodeId, MembershipError> {
        let Leadership::Leading { term } = *self.leadership.borrow() else {
            return Err(self.not_leader());
        };
        if let Some(to) = to {
            if !self.members().voters.contains_key(&to) {
                return Err(MembershipError::Unknown { id: to });
            }
            if to == *self.raft.node_id() {
                return Ok(to);
            }
        }
        let _paused = self.batcher.pause();
        let to = (self.matched_successor(to, term).await?, to.is_none());
        // From here on there is no way back in this term.
        self.given_away.fetch_max(term, SeqCst);
        self.offer(to, term).await
    }

    /// Waits until nothing that was proposed is on its way, and a successor has all of it: one
    /// that lacks an entry cannot lead.
    pub(super) async fn matched_successor(
        &self,
        to: Option<NodeId>,
        term: u64,
    ) -> Result<NodeId, MembershipError> {
        let until = tokio::time::Instant::now() + Duration::from_millis(CATCH_UP_MS_MAX);
        loop {
            if !self.leads_in(term) {
                return Err(self.not_leader());
            }
            let id = match to {
                Some(to) => to,
                None => self.successor()?,
            };
            let last_index = self.last_index();
            let replicas = self.replication();
            let matched = replicas.iter().find(|replica| replica.id == id);
            let matched_index = matched.map_or(0, |replica| replica.matched_index);
            let heard = matched.is_some_and(|replica| self.is_heard(replica));
            if heard && self.batcher.entries_in_flight() == 0 && matched_index >= last_index {
                return Ok(id);
            }
            if tokio::time::Instant::now() >= until {
                if !heard && matched_index >= last_index {
                    return Err(MembershipError::NoSuccessor);
                }
                return Err(MembershipError::Behind {
                    id,
                    missing: last_index.saturating_sub(matched_index),
                    waited_ms: CATCH_UP_MS_MAX,
                });
            }
            tokio::time::sleep(Duration::from_millis(CATCH_UP_POLL_MS)).await;
        }
    }

    /// Tells the successor that it may lead, again and again: the word may be lost. When `any`
    /// other one may lead as well, that will do.
    pub(super) async fn offer(
        &self,
        (to, any): (NodeId, bool),
        term: u64,
    ) -> Result<NodeId, MembershipError> {
        let mut leadership = self.leadership();
        let mut taken = async || {
            let newer = leadership.wait_for(|now| match now {
                Leadership::Following {
                    leader: Some(_),
                    term: newer,
                } => *newer > term,
                _ => false,
            });
            match newer.await.as_deref() {
                Ok(Leadership::Following {
                    leader: Some((id, _)),
                    ..
                }) => Ok(*id),
                Ok(_) | Err(_) => Err(MembershipError::Closed),
            }
        };
        let not_taken = MembershipError::NotTaken {
            id: to,
            waited_ms: TRANSFER_MS_MAX,
        };
        for _ in 0..TRANSFER_MS_MAX.div_ceil(OFFER_INTERVAL_MS) {
            // What was offered is the lead of this term, and no other.
            if self.is_leader_of(term) {
                let asked = self.raft.trigger().transfer_leader(to).await;
                asked.map_err(|_| MembershipError::Closed)?;
            }
            let limit = Duration::from_millis(OFFER_INTERVAL_MS);
            match tokio::time::timeout(limit, taken()).await {
                Ok(Ok(id)) if id == to || any => return Ok(id),
                Ok(Ok(_)) => return Err(not_taken),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Err(not_taken)
    }

    /// Lets another node lead, when one can, so that nobody has to notice that this one has gone.
    pub(crate) async fn step_back(&self) {
        let leads = self.leadership.borrow().is_leading();
        if !leads || self.members().voters.len() < 2 {
            return;
        }
        match self.transfer_leadership(None).await {
            Ok(successor) => tracing::info!(successor, "leadership was handed over"),
            Err(error) => tracing::warn!(%error, "leadership was not handed over"),
        }
    }

    /// Whether this node leads in this term, and nobody has heard of a newer one.
    fn leads_in(&self, term: u64) -> bool {
        *self.leadership.borrow() == Leadership::Leading { term } && self.is_leader_of(term)
    }

    fn is_leader_of(&self, term: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_term == term && metrics.state.is_leader()
    }

    fn is_heard(&self, replica: &Replica) -> bool {
        let limit_ms = self.timing.election_timeout_ms;
        replica.last_heard_ms.is_some_and(|ms| ms < limit_ms)
    }

    /// The voter that lacks the fewest entries, among those that were heard just now.
    fn successor(&self) -> Result<NodeId, MembershipError> {
        let (own, members) = (*self.raft.node_id(), self.members());
        let replicas = self.replication();
        let others = replicas.iter().filter(|replica| {
            let voter = members.voters.contains_key(&replica.id);
            replica.id != own && voter && self.is_heard(replica)
        });
        let best = others.max_by_key(|replica| replica.matched_index);
        best.map(|replica| replica.id)
            .ok_or(MembershipError::NoSuccessor)
    }

    fn not_leader(&self) -> MembershipError {
        let leader = match &*self.leadership.borrow() {
            Leadership::Following { leader, .. } => leader.as_ref().map(|(id, _)| *id),
            Leadership::Leading { .. } => None,
        };
        MembershipError::NotLeader { leader }
    }
}

fn changed<T>(result: Changed<T>) -> Result<(), MembershipError> {
    result.map(drop).map_err(|error| match error {
        RaftError::Fatal(_) => MembershipError::Closed,
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            MembershipError::NotLeader {
                leader: forward.leader_id,
            }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => refused(&error),
        RaftError::APIError(
            ClientWriteError::LogEntryDiscarded(_) | ClientWriteError::PreconditionFailed(_),
        ) => MembershipError::OutcomeUnknown,
    })
}

fn refused(error: &ChangeMembershipError<LeaderTerm, NodeId>) -> MembershipError {
    match error {
        ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
            MembershipError::InProgress
        }
        ChangeMembershipError::EmptyMembership(_) => MembershipError::NoVoters,
        ChangeMembershipError::LearnerNotFound(error) => {
            MembershipError::Unknown { id: error.node_id }
        }
        ChangeMembershipError::NodeMetadataChanged(error) => {
            MembershipError::Exists { id: error.node_id }
        }
        ChangeMembershipError::UnsupportedMembershipTransition(_) => MembershipError::InProgress,
    }
}
