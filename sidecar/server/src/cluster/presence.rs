use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use outrigger_log::{
    DirectoryError, Log, Logs,
    cluster::{Identity, Leadership, Member, Members},
};
use outrigger_proto::cluster as proto;
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::{Me, Refused, protocol};

/// What this node is at the moment, for whoever asks: the peers, its own formation, operators.
#[derive(Debug)]
pub(crate) struct Presence {
    me: Me,
    data: PathBuf,
    standing: watch::Sender<Standing>,
    /// One change of the recorded identity at a time.
    changing: AsyncMutex<()>,
    logs: Mutex<Option<Logs>>,
    /// How many data groups the configuration wants, if it says so.
    wanted_groups: Option<u32>,
}

/// What is recorded of a node's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) cluster_id: Option<String>,
    /// How many data groups the cluster has.
    pub(crate) groups: Option<u32>,
    /// The log was damaged and is set aside.
    pub(crate) repairing: bool,
}

impl From<&Identity> for Standing {
    fn from(identity: &Identity) -> Self {
        Self {
            cluster_id: identity.cluster_id.clone(),
            groups: identity.groups,
            repairing: identity.repairing,
        }
    }
}

impl Presence {
    pub(crate) fn new(
        me: Me,
        data: PathBuf,
        identity: &Identity,
        wanted_groups: Option<u32>,
    ) -> Arc<Self> {
        Arc::new(Self {
            me,
            data,
            standing: watch::Sender::new(identity.into()),
            changing: AsyncMutex::new(()),
            logs: Mutex::default(),
            wanted_groups,
        })
    }

    pub(crate) fn me(&self) -> &Me {
        &self.me
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.standing.borrow().cluster_id.clone()
    }

    /// How many data groups its cluster has, or is to have as far as this node has a say.
    pub(crate) fn groups(&self) -> Option<u32> {
        self.standing.borrow().groups.or(self.wanted_groups)
    }

    /// The logs of all data groups, once they are open.
    pub(crate) fn logs(&self) -> Option<Logs> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.clone()
    }

    /// The log of one data group, once it is open.
    pub(crate) fn log(&self, group: u32) -> Option<Log> {
        self.logs()?.group(group).cloned()
    }

    /// The logs are open: the node takes part from now on.
    pub(crate) fn takes_part(&self, logs: Logs) {
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = Some(logs);
    }

    /// Gives the logs back, so that they can be closed.
    pub(crate) fn leave(&self) {
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The members of one data group.
    pub(crate) fn members_of(&self, group: u32) -> Members {
        self.log(group).map(|log| log.members()).unwrap_or_default()
    }

    /// The members of all data groups. Whoever votes in one of them is a voter here.
    pub(crate) fn members(&self) -> Members {
        let mut all = Members::default();
        for log in self.logs().iter().flat_map(Logs::iter) {
            let Members {
                voters,
                learners,
                joint,
            } = log.members();
            all.voters.extend(voters);
            all.learners.extend(learners);
            all.joint |= joint;
        }
        let Members {
            voters, learners, ..
        } = &mut all;
        learners.retain(|id, _| !voters.contains_key(id));
        all
    }

    /// A member, as data groups know it that have a leader: without one this node may have
    /// missed that the number was given to another one.
    pub(crate) fn known_for_sure(&self, id: u64) -> Option<Member> {
        let logs = self.logs()?;
        let mut led = logs.iter().filter(|log| leader_of(log).is_some());
        led.find_map(|log| super::find(&log.members(), id).cloned())
    }

    /// Who leads a data group, as far as this node knows.
    pub(crate) fn leader(&self, group: u32) -> Option<u64> {
        leader_of(&self.log(group)?)
    }

    /// Becomes a member of a cluster, or again one after a repair.
    pub(crate) async fn adopt(&self, cluster_id: &str, groups: u32) -> Result<(), AdoptError> {
        let _one = self.changing.lock().await;
        let standing = self.standing();
        match &standing.cluster_id {
            Some(known) if known != cluster_id => {
                return Err(AdoptError::Refused(Refused::NotWaiting {
                    node: self.me.id,
                    cluster: known.clone(),
                }));
            }
            Some(_) | None => {}
        }
        if let Some(ours) = self.groups().filter(|ours| *ours != groups) {
            return Err(AdoptError::Refused(Refused::OtherGroups {
                node: self.me.id,
                theirs: ours,
                ours: groups,
            }));
        }
        if standing.cluster_id.is_some() && !standing.repairing {
            return Ok(());
        }
        let (data, cluster_id) = (self.data.clone(), cluster_id.to_owned());
        let recorded = tokio::task::spawn_blocking(move || match standing.repairing {
            true => Identity::readmitted(&data),
            false => Identity::adopt(&data, &cluster_id, groups),
        });
        let identity = recorded.await.map_err(|_| AdoptError::Interrupted)??;
        tracing::info!(cluster = identity.cluster_id, "adopted by a cluster");
        self.standing.send_replace(Standing::from(&identity));
        Ok(())
    }

    /// The damaged log has been set aside.
    pub(crate) fn repairing(&self) {
        self.standing
            .send_modify(|standing| standing.repairing = true);
    }

    /// A program from before there were several data groups would take part in one.
    pub(crate) fn protocol_min(&self) -> u32 {
        match self.groups() {
            Some(groups) if groups > 1 => protocol::DATA_GROUPS,
            Some(_) | None => protocol::MIN,
        }
    }

    /// What this node says of itself in a handshake.
    pub(crate) fn hello(&self) -> proto::HandshakeRequest {
        proto::HandshakeRequest {
            from: Some(self.me.to_proto()),
            cluster_id: self.cluster_id().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: self.protocol_min(),
            protocol_max: protocol::MAX,
            data_groups: self.groups().unwrap_or(0),
        }
    }

    /// What this node answers to a handshake.
    pub(crate) fn answer(&self) -> proto::HandshakeResponse {
        let standing = self.standing();
        let state = match (&standing.cluster_id, standing.repairing) {
            (_, true) => proto::NodeState::Repairing,
            (None, false) => proto::NodeState::Waiting,
            (Some(_), false) => proto::NodeState::Member,
        };
        let Members {
            voters, learners, ..
        } = self.members();
        let members = voters.iter().chain(&learners);
        proto::HandshakeResponse {
            node: Some(self.me.to_proto()),
            cluster_id: standing.cluster_id.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: self.protocol_min(),
            protocol_max: protocol::MAX,
            state: state.into(),
            members: members
                .map(|(id, member)| Me::of(*id, member).to_proto())
                .collect(),
            leader: self.leader(0).unwrap_or(0),
            data_groups: self.groups().unwrap_or(0),
        }
    }
}

fn leader_of(log: &Log) -> Option<u64> {
    match &*log.leadership().borrow() {
        Leadership::Leading { .. } => Some(log.status().node_id),
        Leadership::Following { leader, .. } => leader.as_ref().map(|(id, _)| *id),
    }
}

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("it was interrupted")]
    Interrupted,
}
