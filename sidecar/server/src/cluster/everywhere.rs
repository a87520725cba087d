use std::time::Duration;

use outrigger_log::cluster::Leadership;
use outrigger_proto::cluster::{
    AddRequest, NodeState, ReadmitStep, RemoveRequest, ReplaceRequest, TransferRequest,
    cluster_client::ClusterClient,
};
use tokio::time::{Instant, sleep};
use tonic::{Request, Status, transport::Channel};

use super::{ChangeError, Changes, Links, Me, Presence, links::LinkError, refused::reason_of};
use crate::{edge::status::Failure, forward::data_group};

/// How long the leader of a data group is looked for before a change of it is given up.
const LEADER_MS_MAX: u64 = 15_000;
/// The pause before the leader of a data group is asked again.
const RETRY_MS: u64 = 200;
/// How long the leader of a data group may take for one step: it sends the whole log on the
/// way.
const STEP_MS_MAX: u64 = 3_650_000;

/// Changes the members of all data groups, one after the other, each at its leader. What was
/// changed stays when a later one fails, and the same command goes on from there.
#[derive(Clone, Debug)]
pub(crate) struct Everywhere {
    links: Links,
    changes: Changes,
}

/// One change of one data group.
#[derive(Clone, Debug)]
enum Change {
    Add {
        id: u64,
        address: String,
    },
    Remove {
        id: u64,
    },
    Replace {
        id: u64,
        with_id: u64,
        with_address: String,
    },
    Transfer {
        to: u64,
    },
    TakeOut {
        node: Me,
    },
    TakeIn {
        node: Me,
    },
}

/// How a change of one data group ended.
enum Ended {
    /// It was made, now or perhaps by an earlier attempt.
    Made,
    /// There was nothing to change.
    Before(Status),
}

impl Everywhere {
    pub(crate) fn new(links: Links, changes: Changes) -> Self {
        Self { links, changes }
    }

    /// Changes of the data groups that this node leads.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    fn presence(&self) -> &Presence {
        self.links.presence()
    }

    fn groups(&self) -> Result<u32, Status> {
        let logs = self.presence().logs();
        let logs = logs.ok_or(ChangeError::NotLeader { leader: None });
        Ok(logs.map_err(Failure::from)?.placement().groups())
    }

    /// Takes a node in that waits for it.
    pub(crate) async fn add(&self, id: u64, address: &str) -> Result<(), Status> {
        let address = address.to_owned();
        self.make(&Change::Add { id, address }).await
    }

    /// Takes a node out.
    pub(crate) async fn remove(&self, id: u64) -> Result<(), Status> {
        self.make(&Change::Remove { id }).await
    }

    /// Takes a node in and another one out.
    pub(crate) async fn replace(
        &self,
        id: u64,
        with_id: u64,
        with_address: &str,
    ) -> Result<(), Status> {
        let with_address = with_address.to_owned();
        self.make(&Change::Replace {
            id,
            with_id,
            with_address,
        })
        .await
    }

    /// Lets a node lead all data groups. One that cannot be handed over holds up no other.
    pub(crate) async fn transfer(&self, to: u64) -> Result<(), Status> {
        let mut result = Ok(());
        for group in 0..self.groups()? {
            if self.presence().leader(group) == Some(to) {
                continue;
            }
            if let Err(status) = self.at_leader(group, &Change::Transfer { to }).await {
                result = Err(in_group(group, status));
            }
        }
        result
    }

    /// Takes a node back that has set its damaged log aside. It must be out of all data groups
    /// before its empty log is opened: it has forgotten what it has acknowledged and whom it has
    /// voted for, in all of them.
    pub(crate) async fn readmit(&self, node: Me) -> Result<(), Status> {
        let groups = self.groups()?;
        let id = node.id;
        let unusable = |source: LinkError| Failure::from(ChangeError::Link { id, source });
        let greeted = self.links.greet(&node.address, id, Some(node.instance));
        if greeted.await.map_err(unusable)?.state == NodeState::Repairing {
            for group in 0..groups {
                let out = Change::TakeOut { node: node.clone() };
                self.at_leader(group, &out).await?;
            }
            let cluster_id = self.presence().cluster_id().unwrap_or_default();
            let adopted = self.links.adopt(&node, &cluster_id, groups).await;
            adopted.map_err(unusable)?;
        }
        for group in 0..groups {
            let back = Change::TakeIn { node: node.clone() };
            self.at_leader(group, &back).await?;
        }
        tracing::info!(node = id, "repaired, and a voter again");
        Ok(())
    }

    /// In every data group. When all of them were like that before, that is the answer.
    async fn make(&self, change: &Change) -> Result<(), Status> {
        let mut before = None;
        let mut changed = false;
        for group in 0..self.groups()? {
            match self.at_leader(group, change).await {
                Ok(Ended::Made) => changed = true,
                Ok(Ended::Before(status)) => before = Some(status),
                Err(status) => return Err(in_group(group, status)),
            }
        }
        match before {
            Some(status) if !changed => Err(status),
            Some(_) | None => Ok(()),
        }
    }

    /// At the leader of a data group, whoever that is; again at the next one when it does not
    /// lead any more. Each of these changes has the effect of one when it is made twice.
    async fn at_leader(&self, group: u32, change: &Change) -> Result<Ended, Status> {
        let until = Instant::now() + Duration::from_millis(LEADER_MS_MAX);
        let mut may_be_made = false;
        loop {
            let status = match self.attempt(group, change).await {
                Ok(()) => return Ok(Ended::Made),
                Err(status) => status,
            };
            let may_repeat = match reason_of(&status).as_str() {
                "NODE_IS_MEMBER" | "NODE_NOT_FOUND" if may_be_made => return Ok(Ended::Made),
                "NODE_IS_MEMBER" | "NODE_NOT_FOUND" => return Ok(Ended::Before(status)),
                "NOT_LEADER"
                | "NO_LEADER"
                | "NOT_READY"
                | "NODE_NOT_TAKING_PART"
                | "CHANGE_IN_PROGRESS" => true,
                // The connection broke, or the leader does not know.
                "" | "OUTCOME_UNKNOWN" => {
                    may_be_made = true;
                    status.code() == tonic::Code::Unavailable
                }
                _ => false,
            };
            if !may_repeat || Instant::now() >= until {
                return Err(status);
            }
            sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }

    async fn attempt(&self, group: u32, change: &Change) -> Result<(), Status> {
        let log = self.presence().log(group);
        let leadership = log.map(|log| log.leadership().borrow().clone());
        match leadership {
            Some(Leadership::Leading { .. }) => {
                let made = self.here(group, change).await;
                Ok(made.map_err(Failure::from)?)
            }
            Some(Leadership::Following {
                leader: Some((_, leader)),
                ..
            }) => match change {
                Change::TakeOut { node } => {
                    self.step(&leader.address, node, ReadmitStep::Out, group)
                        .await
                }
                Change::TakeIn { node } => {
                    self.step(&leader.address, node, ReadmitStep::In, group)
                        .await
                }
                Change::Add { .. }
                | Change::Remove { .. }
                | Change::Replace { .. }
                | Change::Transfer { .. } => self.there(&leader.edge, group, change).await,
            },
            Some(Leadership::Following { leader: None, .. }) | None => {
                Err(Failure::from(ChangeError::NotLeader { leader: None }).into())
            }
        }
    }

    async fn here(&self, group: u32, change: &Change) -> Result<(), ChangeError> {
        let changes = &self.changes;
        match change {
            Change::Add { id, address } => changes.add(group, *id, address).await,
            Change::Remove { id } => changes.remove(group, *id).await,
            Change::Replace {
                id,
                with_id,
                with_address,
            } => changes.replace(group, *id, *with_id, with_address).await,
            Change::Transfer { to } => changes.transfer(group, *to).await.map(drop),
            Change::TakeOut { node } => changes.take_out(group, node).await,
            Change::TakeIn { node } => changes.take_in(group, node).await,
        }
    }

    async fn step(
        &self,
        leader: &str,
        node: &Me,
        step: ReadmitStep,
        group: u32,
    ) -> Result<(), Status> {
        let made = self
            .links
            .readmit_step(leader, node, step, group, STEP_MS_MAX);
        made.await.map_err(|error| match error {
            LinkError::RefusedBy { reason, message } if reason == "NOT_LEADER" => {
                Failure::new(tonic::Code::Unavailable, "NOT_LEADER", message).into()
            }
            other => Status::unavailable(other.to_string()),
        })
    }

    async fn there(&self, edge: &str, group: u32, change: &Change) -> Result<(), Status> {
        let channel = self.links.channel(edge);
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut leader = ClusterClient::new(channel);
        ask(&mut leader, group, change).await
    }
}

async fn ask(
    leader: &mut ClusterClient<Channel>,
    group: u32,
    change: &Change,
) -> Result<(), Status> {
    let data_group = Some(group);
    match change.clone() {
        Change::Add { id, address } => {
            let request = AddRequest {
                id,
                address,
                data_group,
            };
            leader.add(to(group, request)).await.map(drop)
        }
        Change::Remove { id } => {
            let request = RemoveRequest { id, data_group };
            leader.remove(to(group, request)).await.map(drop)
        }
        Change::Replace {
            id,
            with_id,
            with_address,
        } => {
            let request = ReplaceRequest {
                id,
                with_id,
                with_address,
                data_group,
            };
            leader.replace(to(group, request)).await.map(drop)
        }
        Change::Transfer { to: successor } => {
            let request = TransferRequest {
                to: successor,
                data_group,
            };
            leader.transfer(to(group, request)).await.map(drop)
        }
        // They go to the peer port.
        Change::TakeOut { .. } | Change::TakeIn { .. } => Ok(()),
    }
}

/// A call for the leader of one data group.
fn to<T>(group: u32, request: T) -> Request<T> {
    let mut request = Request::new(request);
    data_group::name(request.metadata_mut(), group);
    request
}

/// Says where a change stopped.
fn in_group(group: u32, status: Status) -> Status {
    let message = format!("data group {group}: {}", status.message());
    Status::with_details_and_metadata(
        status.code(),
        message,
        bytes::Bytes::copy_from_slice(status.details()),
        status.metadata().clone(),
    )
}
