use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use outrigger_log::{
    DirectoryError, Log,
    cluster::{Identity, Leadership, Members},
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
    log: Mutex<Option<Log>>,
}

/// What is recorded of a node's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) cluster_id: Option<String>,
    /// The log was damaged and is set aside.
    pub(crate) repairing: bool,
}

impl From<&Identity> for Standing {
    fn from(identity: &Identity) -> Self {
        Self {
            cluster_id: identity.cluster_id.clone(),
            repairing: identity.repairing,
        }
    }
}

impl Presence {
    pub(crate) fn new(me: Me, data: PathBuf, identity: &Identity) -> Arc<Self> {
        Arc::new(Self {
            me,
            data,
            standing: watch::Sender::new(identity.into()),
            changing: AsyncMutex::new(()),
            log: Mutex::default(),
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

    /// The log, once it is open.
    pub(crate) fn log(&self) -> Option<Log> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    /// The log is open: the node takes part from now on.
    pub(crate) fn takes_part(&self, log: Log) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    }

    /// Gives the log back, so that it can be closed.
    pub(crate) fn leave(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn members(&self) -> Members {
        self.log().map(|log| log.members()).unwrap_or_default()
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leadership = self.log()?.leadership();
        let leadership = leadership.borrow();
        match &*leadership {
            Leadership::Leading { .. } => Some(self.me.id),
            Leadership::Following { leader, .. } => leader.as_ref().map(|(id, _)| *id),
        }
    }

    /// Becomes a member of a cluster, or again one after a repair.
    pub(crate) async fn adopt(&self, cluster_id: &str) -> Result<(), AdoptError> {
        let _one = self.changing.lock().await;
        let standing = self.standing();
        match &standing.cluster_id {
            Some(known) if known != cluster_id => {
                return Err(AdoptError::Refused(Refused::NotWaiting {
                    node: self.me.id,
                    cluster: known.clone(),
                }));
            }
            Some(_) if !standing.repairing => return Ok(()),
            Some(_) | None => {}
        }
        let (data, cluster_id) = (self.data.clone(), cluster_id.to_owned());
        let recorded = tokio::task::spawn_blocking(move || match standing.repairing {
            true => Identity::readmitted(&data),
            false => Identity::adopt(&data, &cluster_id, 1),
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

    /// What this node says of itself in a handshake.
    pub(crate) fn hello(&self) -> proto::HandshakeRequest {
        proto::HandshakeRequest {
            from: Some(self.me.to_proto()),
            cluster_id: self.cluster_id().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_min: protocol::MIN,
            protocol_max: protocol::MAX,
            data_groups: 1,
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
            protocol_min: protocol::MIN,
            protocol_max: protocol::MAX,
            state: state.into(),
            members: members
                .map(|(id, member)| Me::of(*id, member).to_proto())
                .collect(),
            leader: self.leader().unwrap_or(0),
            data_groups: 1,
        }
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
