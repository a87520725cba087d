use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use outrigger_proto::cluster::{
    AdoptRequest, ReadmitRequest, ReadmitStep, peers_client::PeersClient,
};
use tokio::time::timeout;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    Complaints, Me, Presence, Refused,
    handshake::{Greeting, check_answer},
    me::write_instance,
    refused::reason_of,
};

const CONNECT_MS_MAX: u64 = 1_000;
/// A node that does not answer a handshake within this time is taken for unreachable.
const HANDSHAKE_MS_MAX: u64 = 2_000;
/// Adopting writes a file on the other node.
const ADOPT_MS_MAX: u64 = 10_000;
const KEEP_ALIVE_INTERVAL_MS: u64 = 2_000;
const KEEP_ALIVE_MS_MAX: u64 = 2_000;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// The largest HTTP/2 frame: large entries in few of them.
pub(crate) const HTTP2_FRAME_BYTES_MAX: u32 = 1 << 20;
/// The largest message: an entry of 12 MiB, what else an append may carry, and room.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The connections to other nodes; cheap to clone. One for each address, made when it is
/// needed and again when it breaks.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    presence: Arc<Presence>,
    complaints: Arc<Complaints>,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

/// Why a node could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It answered, and does not fit.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It refused this node.
    #[error("{message}")]
    RefusedBy { reason: String, message: String },
    /// It does not answer.
    #[error("{address} does not answer: {problem}")]
    Unreachable { address: String, problem: String },
}

impl LinkError {
    /// The stable name of the refusal, whoever refused.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(refused.reason()),
            Self::RefusedBy { reason, .. } => Some(reason),
            Self::Unreachable { .. } => None,
        }
    }

    pub(crate) fn of(address: &str, status: &Status) -> Self {
        let reason = reason_of(status);
        if reason.is_empty() {
            return Self::Unreachable {
                address: address.to_owned(),
                problem: format!("{:?} {}", status.code(), cause(status)),
            };
        }
        Self::RefusedBy {
            reason,
            message: status.message().to_owned(),
        }
    }
}

/// What is at the bottom of a failure, which a status does not say itself.
fn cause(status: &Status) -> String {
    let mut told = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        told = error.to_string();
        source = error.source();
    }
    told
}

impl Links {
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self {
            presence,
            complaints: Arc::default(),
            channels: Arc::default(),
        }
    }

    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    pub(crate) fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// The connection to an address.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, LinkError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| LinkError::Unreachable {
            address: address.to_owned(),
            problem: error.to_string(),
        })?;
        let channel = endpoint
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .http2_keep_alive_interval(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS))
            .keep_alive_timeout(Duration::from_millis(KEEP_ALIVE_MS_MAX))
            .keep_alive_while_idle(true)
            .connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// For calls between nodes.
    pub(crate) fn peer(&self, address: &str) -> Result<PeersClient<Channel>, LinkError> {
        Ok(PeersClient::new(self.channel(address)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Asks who is there, and checks the answer; `instance` when it must be a certain one.
    /// What does not fit is logged once.
    pub(crate) async fn greet(
        &self,
        address: &str,
        expected: u64,
        instance: Option<u128>,
    ) -> Result<Greeting, LinkError> {
        let greeted = self.try_greet(address, expected, instance).await;
        match &greeted {
            Ok(_) => self.complaints.settled(expected),
            Err(error) => self.complaints.about(expected, error),
        }
        greeted
    }

    async fn try_greet(
        &self,
        address: &str,
        expected: u64,
        instance: Option<u128>,
    ) -> Result<Greeting, LinkError> {
        let mut peer = self.peer(address)?;
        let answer = peer.handshake(self.presence.hello());
        let answer = answer_within(HANDSHAKE_MS_MAX, address, answer).await?;
        let checked = check_answer(&self.presence, address, expected, instance, answer);
        Ok(checked?)
    }

    /// Makes a node that waits, or is being repaired, one of the cluster.
    pub(crate) async fn adopt(
        &self,
        node: &Me,
        cluster_id: &str,
        groups: u32,
    ) -> Result<(), LinkError> {
        let mut peer = self.peer(&node.address)?;
        let adopted = peer.adopt(AdoptRequest {
            cluster_id: cluster_id.to_owned(),
            node_id: node.id,
            instance: write_instance(node.instance),
            data_groups: groups,
        });
        answer_within(ADOPT_MS_MAX, &node.address, adopted).await?;
        Ok(())
    }

    /// Asks the leader to take this node back; done when it has.
    pub(crate) async fn readmit(&self, leader: &str, ms_max: u64) -> Result<(), LinkError> {
        let mut peer = self.peer(leader)?;
        let request = ReadmitRequest {
            node: Some(self.presence.me().to_proto()),
            cluster_id: self.presence.cluster_id().unwrap_or_default(),
            ..ReadmitRequest::default()
        };
        let readmitted = peer.readmit(Request::new(request));
        answer_within(ms_max, leader, readmitted).await?;
        Ok(())
    }

    /// Asks the leader of a data group for one step of taking a node back.
    pub(crate) async fn readmit_step(
        &self,
        leader: &str,
        node: &Me,
        step: ReadmitStep,
        data_group: u32,
        ms_max: u64,
    ) -> Result<(), LinkError> {
        let mut peer = self.peer(leader)?;
        let readmitted = peer.readmit(Request::new(ReadmitRequest {
            node: Some(node.to_proto()),
            cluster_id: self.presence.cluster_id().unwrap_or_default(),
            step: step.into(),
            data_group,
        }));
        answer_within(ms_max, leader, readmitted).await?;
        Ok(())
    }
}

async fn answer_within<T>(
    ms_max: u64,
    address: &str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, LinkError> {
    match timeout(Duration::from_millis(ms_max), call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(LinkError::of(address, &status)),
        Err(_) => Err(LinkError::Unreachable {
            address: address.to_owned(),
            problem: format!("nothing for {ms_max} ms"),
        }),
    }
}
