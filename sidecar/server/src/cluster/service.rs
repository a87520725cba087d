use std::sync::Arc;

use outrigger_core::placement::TopicHome;
use outrigger_log::{
    IndexEntry, Log, Logs, Unresolved,
    cluster::{Leadership, Members},
};
use outrigger_proto::cluster::{
    AddRequest, DataGroupStatus, DigestRequest, DigestResponse, Member, ReadQueueRequest,
    ReadQueueResponse, RemoveRequest, ReplaceRequest, Replica, Role, StatusRequest, StatusResponse,
    StoredMessage, TransferRequest, WaitingRequest, WaitingResponse, WaitingTransaction,
    cluster_server::Cluster,
};
use tokio::task::spawn_blocking;
use tonic::{Code, Request, Response, Status};

use super::{ChangeError, Changes, Everywhere, Me, Presence};
use crate::{
    check_back::TransactionLog as _, clock, config::HostPort, edge::status::Failure,
    forward::data_group,
};

/// A node that the leader has not heard of for longer than an election takes.
const UNREACHABLE_MS: u64 = 400;
const WAITING_COUNT_MAX: u32 = 10_000;
/// Transactions looked at in one go.
const PAGE_COUNT: usize = 1_024;
const READ_COUNT_MAX: u32 = 4_096;
/// How often a digest is made again because entries were applied meanwhile.
const DIGEST_ATTEMPTS_MAX: u32 = 16;

/// What operators and sidecars ask of a node.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService {
    presence: Arc<Presence>,
    everywhere: Everywhere,
}

impl ClusterService {
    pub(crate) fn new(presence: Arc<Presence>, everywhere: Everywhere) -> Self {
        Self {
            presence,
            everywhere,
        }
    }

    fn logs(&self) -> Result<Logs, Failure> {
        self.presence.logs().ok_or_else(|| {
            let me = self.presence.me().id;
            let message =
                format!("node {me} does not belong to a cluster yet, or is being repaired");
            Failure::new(Code::Unavailable, "NODE_NOT_TAKING_PART", message)
        })
    }

    fn log(&self, group: u32) -> Result<Log, Failure> {
        let logs = self.logs()?;
        let groups = logs.placement().groups();
        let log = logs.group(group).cloned();
        log.ok_or_else(|| data_group::unknown(group, groups))
    }

    /// The data group that a change is for, when it is for one: the only one, or the one that
    /// is named.
    fn only(&self, named: Option<u32>) -> Result<Option<u32>, Failure> {
        match named {
            Some(group) => self.log(group).map(|_| Some(group)),
            None => Ok((self.logs()?.placement().groups() == 1).then_some(0)),
        }
    }

    /// What this node knows; what only leaders know is there of the data groups that it leads.
    fn status(&self) -> Result<StatusResponse, Failure> {
        let logs = self.logs()?;
        let data_groups: Vec<_> = logs.iter().map(status_of).collect();
        let first = data_groups.first().cloned().unwrap_or_default();
        let Members {
            voters, learners, ..
        } = self.presence.members();
        let members = voters.iter().chain(&learners).map(|(id, member)| {
            let part = |group: &DataGroupStatus| {
                let mut replicas = group.replicas.iter();
                replicas.find(|replica| replica.id == *id).cloned()
            };
            // One that is on its way in or out has no part in the first one.
            let part = part(&first).or_else(|| data_groups.iter().find_map(part));
            describe(&Me::of(*id, member), part.unwrap_or_default())
        });
        let mut members: Vec<Member> = members.collect();
        members.sort_by_key(|member| member.node.as_ref().map(|node| node.id));
        Ok(StatusResponse {
            cluster_id: self.presence.cluster_id().unwrap_or_default(),
            leader: first.leader,
            term: first.term,
            members,
            data_groups,
        })
    }

    /// The answer to a change of one data group.
    fn changed(&self, result: Result<(), ChangeError>) -> Result<Response<StatusResponse>, Status> {
        self.changed_all(result.map_err(|error| Failure::from(error).into()))
    }

    /// The answer to a change.
    fn changed_all(&self, result: Result<(), Status>) -> Result<Response<StatusResponse>, Status> {
        result?;
        Ok(Response::new(Self::status(self)?))
    }

    fn changes(&self) -> &Changes {
        self.everywhere.changes()
    }

    /// The leader cannot take itself out: it hands over first, and the new leader does it.
    async fn hand_over_from(&self, group: u32, id: u64) -> Result<(), ChangeError> {
        if id != self.presence.me().id {
            return Ok(());
        }
        let log = self.changes().led(group).await?;
        let voters = log.members().voters;
        if !voters.contains_key(&id) {
            return Err(ChangeError::NotMember { id });
        }
        if voters.len() < 2 {
            return Err(ChangeError::LastVoter { id });
        }
        let leader = self.changes().transfer(group, 0).await?;
        let leader = voters.get(&leader).map(|m| (leader, m.clone()));
        Err(ChangeError::NotLeader { leader })
    }
}

/// How a data group is.
fn status_of(log: &Log) -> DataGroupStatus {
    let status = log.status();
    let (leader, term) = match &*log.leadership().borrow() {
        Leadership::Leading { term } => (status.node_id, *term),
        Leadership::Following { leader, term } => (leader.as_ref().map_or(0, |(id, _)| *id), *term),
    };
    let replicas = log.replication();
    let Members {
        voters, learners, ..
    } = log.members();
    let voters = voters.keys().map(|id| match *id == leader {
        true => (*id, Role::Leader),
        false => (*id, Role::Follower),
    });
    let learners = learners.keys().map(|id| (*id, Role::Learner));
    let part = |(id, role): (u64, Role)| {
        let replica = replicas.iter().find(|replica| replica.id == id);
        let matched_index = replica.map_or(0, |replica| replica.matched_index);
        let heard = replica.and_then(|replica| replica.last_heard_ms);
        Replica {
            id,
            role: role.into(),
            matched_index,
            lag: replica.map_or(0, |_| status.applied_index.saturating_sub(matched_index)),
            reachable: heard.is_some_and(|ms| ms <= UNREACHABLE_MS),
        }
    };
    DataGroupStatus {
        data_group: log.data_group(),
        leader,
        term,
        replicas: voters.chain(learners).map(part).collect(),
    }
}

fn describe(node: &Me, part: Replica) -> Member {
    Member {
        node: Some(node.to_proto()),
        role: part.role,
        matched_index: part.matched_index,
        lag: part.lag,
        reachable: part.reachable,
    }
}

/// A peer address that operators give.
fn address(field: &'static str, text: &str) -> Result<String, Failure> {
    let parsed = text.parse::<HostPort>();
    let parsed = parsed.map_err(|_| {
        let limit = "a host and a port from 1 to 65535, as in 127.0.0.1:7071";
        Failure::invalid("ILLEGAL_ADDRESS", field, text, limit)
    });
    Ok(parsed?.to_string())
}

fn id(field: &'static str, id: u64) -> Result<u64, Failure> {
    match id {
        0 => Err(Failure::invalid("ILLEGAL_NODE", field, id, "1 and more")),
        id => Ok(id),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(Self::status(self)?))
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<StatusResponse>, Status> {
        let request = request.into_inner();
        let address = address("address", &request.address)?;
        let id = id("id", request.id)?;
        match self.only(request.data_group)? {
            Some(group) => self.changed(self.changes().add(group, id, &address).await),
            None => self.changed_all(self.everywhere.add(id, &address).await),
        }
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let request = request.into_inner();
        let id = id("id", request.id)?;
        let Some(group) = self.only(request.data_group)? else {
            return self.changed_all(self.everywhere.remove(id).await);
        };
        if let Err(error) = self.hand_over_from(group, id).await {
            return Err(Failure::from(error).into());
        }
        self.changed(self.changes().remove(group, id).await)
    }

    async fn replace(
        &self,
        request: Request<ReplaceRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let request = request.into_inner();
        let address = address("with_address", &request.with_address)?;
        let (old, new) = (id("id", request.id)?, id("with_id", request.with_id)?);
        let Some(group) = self.only(request.data_group)? else {
            return self.changed_all(self.everywhere.replace(old, new, &address).await);
        };
        if let Err(error) = self.hand_over_from(group, old).await {
            return Err(Failure::from(error).into());
        }
        self.changed(self.changes().replace(group, old, new, &address).await)
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let TransferRequest { to, data_group } = request.into_inner();
        match self.only(data_group)? {
            Some(group) => {
                let transferred = self.changes().transfer(group, to).await;
                self.changed(transferred.map(drop))
            }
            None if to == 0 => {
                let limit = "a node, or the data group whose leader is to choose one";
                Err(Failure::invalid("ILLEGAL_NODE", "to", to, limit).into())
            }
            None => self.changed_all(self.everywhere.transfer(to).await),
        }
    }

    async fn waiting(
        &self,
        request: Request<WaitingRequest>,
    ) -> Result<Response<WaitingResponse>, Status> {
        let request = request.into_inner();
        if request.limit > WAITING_COUNT_MAX {
            let limit = format_args!("at most {WAITING_COUNT_MAX}");
            let failure = Failure::invalid("OUT_OF_BOUNDS", "limit", request.limit, limit);
            return Err(failure.into());
        }
        self.log(request.data_group)?;
        let led = self.changes().led(request.data_group).await;
        let log = led.map_err(Failure::from)?;
        let found = spawn_blocking(move || waiting(&log, &request));
        let transactions = found.await.map_err(|error| unreadable(&error))?;
        Ok(Response::new(WaitingResponse {
            transactions,
            now_ms: clock::now_ms(),
        }))
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        let log = self.log(request.into_inner().data_group)?;
        let node_id = self.presence.me().id;
        let digest = spawn_blocking(move || digest(&log, node_id));
        Ok(Response::new(
            digest.await.map_err(|error| unreadable(&error))??,
        ))
    }

    async fn read_queue(
        &self,
        request: Request<ReadQueueRequest>,
    ) -> Result<Response<ReadQueueResponse>, Status> {
        let request = request.into_inner();
        if !(1..=READ_COUNT_MAX).contains(&request.limit) {
            let limit = format_args!("1 to {READ_COUNT_MAX}");
            let failure = Failure::invalid("OUT_OF_BOUNDS", "limit", request.limit, limit);
            return Err(failure.into());
        }
        let group = match request.data_group {
            Some(group) => group,
            None => match self.logs()?.placement().topic(&request.topic) {
                TopicHome::One(group) => group,
                TopicHome::Every => {
                    let limit = "one of them, for a topic that lies in every data group";
                    let failure =
                        Failure::invalid("ILLEGAL_DATA_GROUP", "data_group", "not set", limit);
                    return Err(failure.into());
                }
            },
        };
        let log = self.log(group)?;
        let read = spawn_blocking(move || read_queue(&log, &request));
        Ok(Response::new(
            read.await.map_err(|error| unreadable(&error))??,
        ))
    }
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Internal, "LOG_UNREADABLE", error.to_string())
}

fn waiting(log: &Log, request: &WaitingRequest) -> Vec<WaitingTransaction> {
    let mut found = Vec::new();
    let mut after = request.after_sequence;
    let before_ms = match request.prepared_before_ms {
        0 => u64::MAX,
        before_ms => before_ms,
    };
    let limit = match request.limit {
        0 => WAITING_COUNT_MAX,
        limit => limit,
    } as usize;
    loop {
        let page: Vec<Unresolved> = log.unresolved(after, before_ms, PAGE_COUNT);
        let Some(last) = page.last() else {
            return found;
        };
        let before = std::mem::replace(&mut after, last.sequence);
        for waiting in log.waiting(before, before_ms, page.len()) {
            let group = waiting.producer_group.as_ref();
            let wanted = request.producer_groups.iter().any(|name| name == group);
            if !wanted || waiting.sequence > after {
                continue;
            }
            found.push(WaitingTransaction {
                sequence: waiting.sequence,
                transaction_id: waiting.id.to_string(),
                producer_group: group.to_owned(),
                prepared_at_ms: waiting.prepared_at_ms,
                waiting_since_ms: waiting.waiting_since_ms,
                parked: waiting.parked,
            });
            if found.len() >= limit {
                return found;
            }
        }
    }
}

/// A digest of exactly what it says has been applied.
fn digest(log: &Log, node_id: u64) -> Result<DigestResponse, Failure> {
    for _ in 0..DIGEST_ATTEMPTS_MAX {
        let before = log.applied();
        let digest = log.digest().map_err(|error| unreadable(&error))?;
        if log.applied() != before {
            continue;
        }
        let (applied_term, applied_index) = before;
        return Ok(DigestResponse {
            node_id,
            applied_term,
            applied_index,
            digest: bytes::Bytes::copy_from_slice(&digest.to_be_bytes()),
        });
    }
    Err(Failure::new(
        Code::Aborted,
        "STATE_CHANGED",
        "entries were applied while the digest was made; try again when less is written",
    ))
}

fn read_queue(log: &Log, request: &ReadQueueRequest) -> Result<ReadQueueResponse, Failure> {
    let topic = log.topic(&request.topic);
    let topic = topic.ok_or_else(|| crate::edge::unknown_topic(&request.topic))?;
    let (first_offset, next_offset) = log.queue_bounds(topic.id, request.queue);
    let from = request.from_offset.max(first_offset);
    let mut entries: Vec<IndexEntry> = Vec::new();
    log.index(
        topic.id,
        request.queue,
        from,
        request.limit as usize,
        &mut entries,
    )
    .map_err(|error| unreadable(&error))?;
    let bodies = log.read(&entries).map_err(|error| unreadable(&error))?;
    let messages = entries.iter().zip(bodies);
    Ok(ReadQueueResponse {
        messages: messages
            .map(|(entry, message)| StoredMessage {
                offset: entry.offset,
                message,
            })
            .collect(),
        first_offset,
        next_offset,
    })
}
