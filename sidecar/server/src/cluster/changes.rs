use std::{collections::BTreeSet, sync::Arc, time::Duration};

use outrigger_core::limits::DATA_GROUPS_COUNT_MAX;
use outrigger_log::{
    Log,
    cluster::{Leadership, Member, Members, MembershipError},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::Code;

use super::{Links, Me, Presence, find, links::LinkError};
use crate::edge::status::Failure;

/// How long a new node may take to receive the log before the change is given up. What it has
/// received stays; the same command goes on from there.
const CATCH_UP_MS_MAX: u64 = 3_600_000;
/// A node that is as close as this to the leader has caught up: the rest comes with the
/// entries that are written meanwhile.
const CAUGHT_UP_ENTRIES: u64 = 64;
const CATCH_UP_POLL_MS: u64 = 20;
/// How long one step of a change may take. Without a quorum no step ends.
const STEP_MS_MAX: u64 = 10_000;
const STEP_RETRY_MS: u64 = 50;
/// Without an answer from a majority for so long there is no quorum.
pub(crate) const CONFIRM_MS_MAX: u64 = 3_000;

/// Why the members were not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("this node does not lead{}", leader.as_ref().map(|(id, _)| format!(", node {id} does")).unwrap_or_default())]
    NotLeader { leader: Option<(u64, Member)> },
    #[error(
        "the leader cannot reach a majority of its {voters} voters: nothing can be changed \
         until it can"
    )]
    NoQuorum { voters: usize },
    #[error("another change of the members is on its way; try again when it has ended")]
    Busy,
    #[error("node {id} cannot be used: {source}")]
    Link {
        id: u64,
        #[source]
        source: LinkError,
    },
    #[error("node {id} is a member already")]
    Member { id: u64 },
    #[error("node {id} is not a member")]
    NotMember { id: u64 },
    #[error("node {id} does not wait to be added: it belongs to cluster {cluster}")]
    NotWaiting { id: u64, cluster: String },
    #[error("node {id} is the only voter; a cluster needs one")]
    LastVoter { id: u64 },
    #[error(
        "node {id} has not caught up within {waited_ms} ms: it has entry {matched} of {last}. \
         What it has stays; the same command goes on from there"
    )]
    Behind {
        id: u64,
        waited_ms: u64,
        matched: u64,
        last: u64,
    },
    #[error(
        "the change was not agreed on within {STEP_MS_MAX} ms; it may still be: look at the status"
    )]
    Slow,
    #[error(transparent)]
    Log(#[from] MembershipError),
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let message = error.to_string();
        let failure = |code, reason| Self::new(code, reason, message);
        match error {
            ChangeError::NotLeader { leader } => {
                let failure = failure(Code::Unavailable, "NOT_LEADER");
                match leader {
                    Some((id, member)) => {
                        failure.with("leader", id).with("leader_edge", member.edge)
                    }
                    None => failure,
                }
            }
            ChangeError::Log(MembershipError::NotLeader { .. } | MembershipError::Closed) => {
                failure(Code::Unavailable, "NOT_LEADER")
            }
            ChangeError::NoQuorum { .. } => failure(Code::Unavailable, "NO_QUORUM"),
            ChangeError::Busy | ChangeError::Log(MembershipError::InProgress) => {
                failure(Code::Aborted, "CHANGE_IN_PROGRESS")
            }
            ChangeError::Link { .. } => failure(Code::FailedPrecondition, "NODE_NOT_USABLE"),
            ChangeError::Member { id } | ChangeError::Log(MembershipError::Exists { id }) => {
                failure(Code::AlreadyExists, "NODE_IS_MEMBER").with("node", id)
            }
            ChangeError::NotMember { id } | ChangeError::Log(MembershipError::Unknown { id }) => {
                failure(Code::NotFound, "NODE_NOT_FOUND").with("node", id)
            }
            ChangeError::NotWaiting { id, .. } => {
                failure(Code::FailedPrecondition, "NODE_NOT_WAITING").with("node", id)
            }
            ChangeError::LastVoter { .. } | ChangeError::Log(MembershipError::NoVoters) => {
                failure(Code::FailedPrecondition, "LAST_VOTER")
            }
            ChangeError::Behind { .. } => failure(Code::DeadlineExceeded, "NODE_BEHIND"),
            ChangeError::Slow | ChangeError::Log(MembershipError::OutcomeUnknown) => {
                failure(Code::Unavailable, "OUTCOME_UNKNOWN")
            }
            ChangeError::Log(
                MembershipError::NotTaken { .. }
                | MembershipError::Behind { .. }
                | MembershipError::NoSuccessor,
            ) => failure(Code::Unavailable, "LEADERSHIP_NOT_TAKEN"),
        }
    }
}

/// Changes the members of one data group; only its leader can. One change at a time.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    links: Links,
    /// One for each data group.
    ones: Arc<Vec<Mutex<()>>>,
}

impl Changes {
    pub(crate) fn new(links: Links) -> Self {
        Self {
            links,
            ones: Arc::new(
                (0..DATA_GROUPS_COUNT_MAX)
                    .map(|_| Mutex::default())
                    .collect(),
            ),
        }
    }

    fn presence(&self) -> &Presence {
        self.links.presence()
    }

    fn one(&self, group: u32) -> Result<MutexGuard<'_, ()>, ChangeError> {
        let one = self.ones.get(group as usize);
        let one = one.ok_or(ChangeError::NotLeader { leader: None })?;
        one.try_lock().map_err(|_| ChangeError::Busy)
    }

    /// The log of a data group, when this node leads it and a majority says so.
    pub(crate) async fn led(&self, group: u32) -> Result<Log, ChangeError> {
        let log = self.presence().log(group);
        let log = log.ok_or(ChangeError::NotLeader { leader: None })?;
        let until = Instant::now() + Duration::from_millis(CONFIRM_MS_MAX);
        loop {
            if let Leadership::Following { leader, .. } = &*log.leadership().borrow() {
                let leader = leader.clone();
                return Err(ChangeError::NotLeader { leader });
            }
            if log.has_lease() {
                return Ok(log);
            }
            match timeout_at(until, log.confirm_leadership()).await {
                Ok(Ok(())) => return Ok(log),
                // Just elected, or about to lose the lead: it will be clear in a moment.
                Ok(Err(_)) => sleep(Duration::from_millis(STEP_RETRY_MS)).await,
                Err(_) => {}
            }
            if Instant::now() >= until {
                return Err(ChangeError::NoQuorum {
                    voters: log.members().voters.len(),
                });
            }
        }
    }

    fn cluster_id(&self) -> String {
        self.presence().cluster_id().unwrap_or_default()
    }

    /// Takes a node in that waits for it: first it learns, then it votes.
    pub(crate) async fn add(&self, group: u32, id: u64, address: &str) -> Result<(), ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        if log.members().voters.contains_key(&id) {
            return Err(ChangeError::Member { id });
        }
        self.learn(&log, id, address).await?;
        let mut voters = voters(&log);
        voters.insert(id);
        set_voters(&log, voters).await
    }

    /// Takes a node in and another one out, in one change of the voters.
    pub(crate) async fn replace(
        &self,
        group: u32,
        id: u64,
        with_id: u64,
        with_address: &str,
    ) -> Result<(), ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        let members = log.members();
        if find(&members, id).is_none() {
            return Err(ChangeError::NotMember { id });
        }
        if members.voters.contains_key(&with_id) {
            return Err(ChangeError::Member { id: with_id });
        }
        self.learn(&log, with_id, with_address).await?;
        let mut voters = voters(&log);
        voters.remove(&id);
        voters.insert(with_id);
        set_voters(&log, voters).await
    }

    /// Takes a node out.
    pub(crate) async fn remove(&self, group: u32, id: u64) -> Result<(), ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        let members = log.members();
        if find(&members, id).is_none() {
            return Err(ChangeError::NotMember { id });
        }
        if members.learners.contains_key(&id) {
            // Making it a voter on the way out would need its consent; the change of the voters
            // to whom they are drops every learner that is left out.
            return remove_learner(&log, id).await;
        }
        let mut voters = voters(&log);
        voters.remove(&id);
        if voters.is_empty() {
            return Err(ChangeError::LastVoter { id });
        }
        set_voters(&log, voters).await
    }

    /// Hands leadership over; 0 lets the log choose.
    pub(crate) async fn transfer(&self, group: u32, to: u64) -> Result<u64, ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        Ok(log
            .transfer_leadership(Some(to).filter(|to| *to != 0))
            .await?)
    }

    /// Takes a node out whose log is set aside; it may be out already.
    pub(crate) async fn take_out(&self, group: u32, node: &Me) -> Result<(), ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        let id = node.id;
        if log.members().learners.contains_key(&id) {
            // What it had received is gone.
            remove_learner(&log, id).await?;
        }
        let mut others = voters(&log);
        if others.remove(&id) {
            if others.is_empty() {
                return Err(ChangeError::LastVoter { id });
            }
            tracing::info!(node = id, group, "taken out of the cluster to be repaired");
            set_voters(&log, others).await?;
        }
        Ok(())
    }

    /// Takes a node in whose log was set aside: first it learns, then it votes. Returns when it
    /// does.
    pub(crate) async fn take_in(&self, group: u32, node: &Me) -> Result<(), ChangeError> {
        let _one = self.one(group)?;
        let log = self.led(group).await?;
        let id = node.id;
        if find(&log.members(), id).is_none() {
            add_learner(&log, id, node.member()).await?;
        }
        catch_up(&log, id).await?;
        let mut all = voters(&log);
        if all.insert(id) {
            set_voters(&log, all).await?;
        }
        Ok(())
    }

    /// Makes a waiting node one that receives the log; returns when it has.
    async fn learn(&self, log: &Log, id: u64, address: &str) -> Result<(), ChangeError> {
        let greeting = self.greet(id, address, None).await?;
        let ours = self.cluster_id();
        match &greeting.cluster_id {
            None => {}
            // An earlier attempt has come that far.
            Some(theirs) if *theirs == ours => {}
            Some(theirs) => {
                let cluster = theirs.clone();
                return Err(ChangeError::NotWaiting { id, cluster });
            }
        }
        let node = Me {
            address: address.to_owned(),
            ..greeting.node
        };
        if greeting.cluster_id.is_none() {
            self.adopt(&node).await?;
        }
        add_learner(log, id, node.member()).await?;
        tracing::info!(node = id, address, "receives the log");
        catch_up(log, id).await
    }

    async fn greet(
        &self,
        id: u64,
        address: &str,
        instance: Option<u128>,
    ) -> Result<super::Greeting, ChangeError> {
        let greeted = self.links.greet(address, id, instance).await;
        greeted.map_err(|source| ChangeError::Link { id, source })
    }

    async fn adopt(&self, node: &Me) -> Result<(), ChangeError> {
        let groups = self.presence().groups().unwrap_or(1);
        let adopted = self.links.adopt(node, &self.cluster_id(), groups).await;
        adopted.map_err(|source| ChangeError::Link {
            id: node.id,
            source,
        })
    }
}

fn voters(log: &Log) -> BTreeSet<u64> {
    let Members { voters, .. } = log.members();
    voters.into_keys().collect()
}

async fn add_learner(log: &Log, id: u64, member: Member) -> Result<(), ChangeError> {
    Step::AddLearner(id, member).take(log).await
}

async fn set_voters(log: &Log, voters: BTreeSet<u64>) -> Result<(), ChangeError> {
    Step::SetVoters(voters).take(log).await
}

async fn remove_learner(log: &Log, id: u64) -> Result<(), ChangeError> {
    Step::RemoveLearner(id).take(log).await
}

/// One step of a change.
enum Step {
    AddLearner(u64, Member),
    SetVoters(BTreeSet<u64>),
    RemoveLearner(u64),
}

impl Step {
    async fn attempt(&self, log: &Log) -> Result<(), MembershipError> {
        match self {
            Self::AddLearner(id, member) => log.add_learner(*id, member.clone()).await,
            Self::SetVoters(voters) => log.set_voters(voters.clone()).await,
            Self::RemoveLearner(id) => log.remove_learner(*id).await,
        }
    }

    /// Repeated while an earlier one is still being agreed on.
    async fn take(self, log: &Log) -> Result<(), ChangeError> {
        let until = Instant::now() + Duration::from_millis(STEP_MS_MAX);
        let steps = async {
            loop {
                match self.attempt(log).await {
                    Err(MembershipError::InProgress) if Instant::now() < until => {
                        sleep(Duration::from_millis(STEP_RETRY_MS)).await;
                    }
                    result => return result,
                }
            }
        };
        match timeout(Duration::from_millis(STEP_MS_MAX), steps).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ChangeError::Slow),
        }
    }
}

/// Waits until a node has what the leader had when this began.
async fn catch_up(log: &Log, id: u64) -> Result<(), ChangeError> {
    let until = Instant::now() + Duration::from_millis(CATCH_UP_MS_MAX);
    let mut leadership = log.leadership();
    loop {
        if let Leadership::Following { leader, .. } = &*leadership.borrow_and_update() {
            let leader = leader.clone();
            return Err(ChangeError::NotLeader { leader });
        }
        let last = log.status().applied_index;
        let replicas = log.replication();
        let replica = replicas.iter().find(|replica| replica.id == id);
        let matched = replica.map_or(0, |replica| replica.matched_index);
        if matched + CAUGHT_UP_ENTRIES >= last && matched > 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(ChangeError::Behind {
                id,
                waited_ms: CATCH_UP_MS_MAX,
                matched,
                last,
            });
        }
        sleep(Duration::from_millis(CATCH_UP_POLL_MS)).await;
    }
}
