use std::{sync::Arc, time::Duration};

use outrigger_log::{
    DirectoryError, Logs, NodeError, OpenError, Options, WalOpenError,
    cluster::{ClusterOptions, Identity, Start},
};
use outrigger_proto::cluster::{cluster_server::ClusterServer, peers_server::PeersServer};
use tokio::{
    net::TcpListener,
    task::{JoinSet, spawn_blocking},
};
use tonic::transport::{Server, server::TcpIncoming};

use super::{
    Changes, ClusterService, Everywhere, FormationError, Links, Me, Presence,
    formation::Formation,
    links::{HTTP2_FRAME_BYTES_MAX, MESSAGE_BYTES_MAX},
    marks::{Mark, Marks},
    peers::PeersService,
    rejoin,
    transport::PeerTransport,
};
use crate::{
    config::{Config, Peers},
    http::Readiness,
};

const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const KEEP_ALIVE_INTERVAL_MS: u64 = 2_000;
const KEEP_ALIVE_MS_MAX: u64 = 2_000;

/// Why a node could not become, or go on as, a member of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It cannot become a member.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// Its log cannot be opened.
    #[error("log store: {0}")]
    Log(#[from] OpenError),
    /// Reading or writing its data directory was interrupted.
    #[error("the start was interrupted")]
    Interrupted,
}

/// A node of a cluster, from before it has a log. What it runs ends when it is dropped.
pub(crate) struct Node {
    links: Links,
    peers: Peers,
    marks: Marks,
    everywhere: Everywhere,
    readiness: Readiness,
    tasks: JoinSet<()>,
}

impl Node {
    /// Reads who this node is, and answers its peers from now on.
    pub(crate) async fn begin(
        config: &Config,
        listener: TcpListener,
        edge: String,
        readiness: Readiness,
    ) -> Result<Self, Error> {
        let cluster = &config.cluster;
        let (data, id) = (config.data.clone(), cluster.id);
        let identity = {
            let data = data.clone();
            spawn_blocking(move || Identity::read_or_make(&data, id))
        };
        let identity = identity.await.map_err(|_| Error::Interrupted)??;
        let bound = || listener.local_addr().map(|address| address.to_string());
        let address = cluster.peer_advertise.as_ref().or(cluster.peers.get(id));
        let me = Me {
            id,
            address: match address {
                Some(address) => address.to_string(),
                None => bound().unwrap_or_default(),
            },
            edge: cluster.advertise.as_ref().map_or(edge, ToString::to_string),
            instance: identity.instance,
        };
        tracing::info!(
            node = id,
            peer = me.address,
            edge = me.edge,
            "a node of a cluster"
        );
        if let (Some(recorded), Some(given)) = (identity.groups, config.groups)
            && recorded != given
        {
            let path = data;
            let error = DirectoryError::OtherGroups {
                path,
                recorded,
                given,
            };
            return Err(error.into());
        }
        let presence = Presence::new(me, data.clone(), &identity, config.groups);
        let links = Links::new(Arc::clone(&presence));
        let changes = Changes::new(links.clone());
        let everywhere = Everywhere::new(links.clone(), changes);
        let mut tasks = JoinSet::new();
        let service = PeersService::new(presence, everywhere.clone());
        tasks.spawn(serve_peers(listener, service));
        Ok(Self {
            links,
            peers: cluster.peers.clone(),
            marks: Marks::new(data),
            everywhere,
            readiness,
            tasks,
        })
    }

    /// Lets each node lead its share of the data groups, for as long as it is polled.
    pub(crate) fn spread(&self, logs: Logs) -> impl Future<Output = ()> + Send + use<> {
        super::spread(logs, self.everywhere.changes().clone())
    }

    /// What operators ask of this node, at any time.
    pub(crate) fn service(&self) -> ClusterServer<ClusterService> {
        let presence = Arc::clone(self.links.presence());
        ClusterServer::new(ClusterService::new(presence, self.everywhere.clone()))
    }

    /// Waits until this node belongs to a cluster, and opens its log. A damaged log is set aside,
    /// and the node waits until its cluster has taken it back.
    pub(crate) async fn open(&mut self, options: Options) -> Result<Logs, Error> {
        let presence = Arc::clone(self.links.presence());
        if self.marks.is_set(Mark::Rejoining) {
            self.ask_to_rejoin();
        }
        loop {
            let start = self.start().await?;
            let options = Options {
                node_id: presence.me().id,
                cluster_id: presence.cluster_id(),
                groups: presence.standing().groups.unwrap_or(1),
                cluster: Some(ClusterOptions {
                    transport: Arc::new(PeerTransport::new(self.links.clone())),
                    start,
                }),
                ..options.clone()
            };
            let data = options.data_dir.clone();
            match Logs::open(options).await {
                Ok(logs) => {
                    presence.takes_part(logs.clone());
                    self.marks.clear(Mark::Forming)?;
                    self.readiness.refuse("no leader is known yet");
                    let readiness = self.readiness.clone();
                    let (links, peers) = (self.links.clone(), self.peers.clone());
                    self.tasks
                        .spawn(rejoin::look_around(links, peers, readiness));
                    return Ok(logs);
                }
                Err(error) if is_damage(&error) => {
                    // First of all, so that the node never forgets that it has to come back.
                    self.marks.set(Mark::Rejoining)?;
                    let aside = spawn_blocking(move || Identity::set_aside(&data));
                    let aside = aside.await.map_err(|_| Error::Interrupted)??;
                    tracing::error!(
                        %error,
                        aside = %aside.display(),
                        "the log is damaged; it is set aside, and the cluster is asked for a copy"
                    );
                    presence.repairing();
                    self.ask_to_rejoin();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask_to_rejoin(&mut self) {
        self.tasks.spawn(rejoin::rejoin(
            self.links.clone(),
            self.peers.clone(),
            self.marks.clone(),
            self.readiness.clone(),
        ));
    }

    /// How the log begins, once it may.
    async fn start(&self) -> Result<Start, Error> {
        let presence = self.links.presence();
        let mut standing = presence.watch();
        if standing.borrow().repairing {
            // The sender lives as long as the presence.
            let _ = standing.wait_for(|standing| !standing.repairing).await;
            return Ok(Start::Wait);
        }
        let formation = Formation::new(
            self.links.clone(),
            self.peers.clone(),
            self.marks.clone(),
            self.readiness.clone(),
        );
        Ok(formation.wait().await?)
    }

    /// Answers peers no more.
    pub(crate) async fn end(mut self) {
        self.links.presence().leave();
        self.tasks.shutdown().await;
    }
}

/// True when bytes that were durable are not what was written, which copies on other nodes
/// can make good.
fn is_damage(error: &OpenError) -> bool {
    match error {
        OpenError::Wal(error) => match error {
            WalOpenError::CorruptSegment { .. } | WalOpenError::MissingSegment { .. } => true,
            WalOpenError::Io { .. }
            | WalOpenError::ForeignSegment { .. }
            | WalOpenError::Version { .. } => false,
        },
        OpenError::Node(NodeError::NoBeginning { .. }) => true,
        _ => false,
    }
}

async fn serve_peers(listener: TcpListener, service: PeersService) {
    let peers = PeersServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX)
        .http2_keepalive_interval(Some(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(KEEP_ALIVE_MS_MAX)))
        .add_service(peers)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the peer port has stopped serving");
    }
}
