//! The nodes of a cluster and all that lies between them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use outrigger_proto::{
    cluster::{DataGroupStatus, StatusRequest, cluster_client::ClusterClient},
    v1::{self, admin_client::AdminClient},
};
use tonic::transport::Channel;

use super::{
    journal::eventually,
    load::{self, Topics},
    network::Network,
    node::Node,
    observe,
    options::Options,
    power::PowerLibrary,
    sidecar::{SIDECAR, Sidecar},
};

/// From the start of all processes to a leader.
const FORMATION_MS_MAX: u64 = 20_000;
/// From healing to all members being up to date.
pub const RECOVERY_MS_MAX: u64 = 20_000;
/// From a fault of one node to service at the others, on a machine that may have much else to
/// do; how long it really took is reported.
const SERVED_MS_MAX: u64 = 30_000;
/// Entries that a member may be behind under load.
const LAG_MAX: u64 = 2_000;
/// Settings of all nodes: small and quick, so that a round sees much.
const CONFIG: &str = r#"
default_queues = 2
drain_ms = 1000

[log]
segment_bytes = 16777216

[check_back]
first_check_ms = 500
interval_ms_max = 1000
"#;

const SIDECAR_CONFIG: &str = r#"
drain_ms = 1000

[check_back]
first_check_ms = 500
interval_ms_max = 1000
"#;

/// The nodes of a cluster and all that lies between them.
#[derive(Debug)]
pub struct World {
    /// Members, and those that are about to be one.
    pub nodes: Vec<Node>,
    /// In front of them.
    pub sidecar: Option<Sidecar>,
    /// What lies between them.
    pub network: Network,
    /// What is sent to.
    pub topics: Arc<Topics>,
    directory: PathBuf,
    program: PathBuf,
    environment: Vec<(String, String)>,
    disks_lie: bool,
    library: PowerLibrary,
    next_id: u64,
}

impl World {
    /// Starts the nodes and waits until they are a cluster.
    ///
    /// # Errors
    ///
    /// When they do not become one in time.
    pub async fn form(options: &Options) -> anyhow::Result<Self> {
        fs::create_dir_all(&options.directory)?;
        fs::write(options.directory.join("node.toml"), CONFIG)?;
        let mut world = Self {
            nodes: Vec::new(),
            sidecar: None,
            network: Network::default(),
            topics: Arc::new(Topics::new(options.groups)?),
            library: PowerLibrary::build(&options.directory)?,
            directory: options.directory.clone(),
            program: options.program.clone(),
            environment: options.environment.clone(),
            disks_lie: options.disks_lie,
            next_id: 1,
        };
        for _ in 0..options.nodes {
            world.make_node(None).await?;
        }
        let ids: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
        for id in ids {
            world.start(id)?;
        }
        let count = world.nodes.len();
        let is_formed = eventually(FORMATION_MS_MAX, async || {
            let mut groups = world.status().await.into_iter();
            groups.all(|group| group.leader != 0 && group.replicas.len() == count)
        });
        anyhow::ensure!(
            is_formed.await,
            "no cluster within {FORMATION_MS_MAX} ms; see {}",
            world.directory.display()
        );
        fs::write(options.directory.join("sidecar.toml"), SIDECAR_CONFIG)?;
        let edges: Vec<_> = world.nodes.iter().map(Node::edge).collect();
        let (program, directory) = (world.program.clone(), world.directory.clone());
        world.sidecar = Some(Sidecar::new(program, directory, &edges)?);
        world.start_missing()?;
        Ok(world)
    }

    /// Everywhere that applications connect.
    pub fn edges(&self) -> Vec<String> {
        let sidecar = self.sidecar.iter().map(Sidecar::uri);
        self.nodes.iter().map(Node::uri).chain(sidecar).collect()
    }

    /// Makes all disks what they are when nothing is wrong with them.
    ///
    /// # Errors
    ///
    /// When one cannot be reached.
    pub fn heal_disks(&self) -> io::Result<()> {
        for node in &self.nodes {
            let disk = node.disk();
            disk.set_full(false)?;
            disk.set_leaking(0)?;
            match self.disks_lie {
                true => disk.set_lying()?,
                false => disk.set_volatile(true)?,
            }
        }
        Ok(())
    }

    /// True when disks only pretend to sync.
    pub fn disks_lie(&self) -> bool {
        self.disks_lie
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A node with an empty directory, which is not running yet; at the address for
    /// applications of an old one, when it takes its place.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub async fn make_node(&mut self, edge: Option<String>) -> anyhow::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let node = Node::new(id, edge, &self.directory, &self.network, &self.library).await?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Starts the process of a node.
    ///
    /// # Errors
    ///
    /// When there is no such node, or it cannot be started.
    pub fn start(&mut self, id: u64) -> anyhow::Result<()> {
        let peers: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("{}={}", node.id, node.peer_address()))
            .collect();
        let peers = peers.join(",");
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        let node = node.with_context(|| format!("there is no node {id}"))?;
        node.start(
            &self.program,
            &peers,
            self.topics.groups,
            &self.environment,
            &self.network,
        )
    }

    /// A node.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn node(&mut self, id: u64) -> anyhow::Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.with_context(|| format!("there is no node {id}"))
    }

    /// Forgets a node that is no member any more.
    pub fn forget(&mut self, id: u64) {
        self.nodes.retain(|node| node.id != id);
    }

    /// Starts everything that is not running; the ids of those that were not.
    ///
    /// # Errors
    ///
    /// When one cannot be started.
    pub fn start_missing(&mut self) -> anyhow::Result<Vec<u64>> {
        let missing = self.nodes.iter_mut().filter_map(|node| {
            let is_running = node.is_running();
            (!is_running).then_some(node.id)
        });
        let mut missing: Vec<_> = missing.collect();
        for id in &missing {
            self.start(*id)?;
        }
        if let Some(sidecar) = &mut self.sidecar
            && sidecar.start(&self.environment, &self.network)?
        {
            missing.push(SIDECAR);
        }
        Ok(missing)
    }

    /// How every data group is, as the node with the newest term sees it; the leader's own view,
    /// when it answers. Without a leader when nobody answers.
    pub async fn status(&self) -> Vec<DataGroupStatus> {
        let asked = self.nodes.iter().map(|node| status(node.uri()));
        let answers = futures::future::join_all(asked).await;
        let seen = |group: u32| {
            let answers = answers.iter().flatten();
            let seen = answers.filter(|status| status.data_group == group);
            let newest = seen.max_by_key(|status| {
                let reached = status.replicas.iter().map(|replica| replica.matched_index);
                (status.term, reached.max())
            });
            newest.cloned().unwrap_or_default()
        };
        (0..self.topics.groups).map(seen).collect()
    }

    /// Who leads each data group; 0 where nobody does.
    pub async fn leaders(&self) -> Vec<u64> {
        let status = self.status().await;
        status.iter().map(|group| group.leader).collect()
    }

    /// The leader of a data group, when there is one.
    pub async fn leader(&self, data_group: u32) -> Option<u64> {
        let leaders = self.leaders().await;
        let leader = *leaders.get(data_group as usize)?;
        (leader != 0).then_some(leader)
    }

    /// True when all data groups have a leader that has all of the nodes, and only them, with
    /// it.
    pub async fn is_whole(&self) -> bool {
        let ids: Vec<_> = self.nodes.iter().map(|node| node.id).collect();
        self.status().await.iter().all(|group| {
            group.leader != 0
                && group.replicas.len() == ids.len()
                && group.replicas.iter().all(|replica| {
                    let is_voter = replica.role == 1 || replica.role == 2;
                    let is_level = replica.reachable && replica.lag <= LAG_MAX;
                    ids.contains(&replica.id) && is_voter && is_level
                })
        })
    }

    /// How long it takes until applications are served again at a node that this fault does
    /// not concern, in milliseconds.
    ///
    /// # Errors
    ///
    /// When they are not in time.
    pub async fn served_without(&self, id: u64) -> anyhow::Result<u64> {
        let began = Instant::now();
        let others = self.nodes.iter().filter(|node| node.id != id);
        let other = others.map(Node::uri).next().context("no other nodes")?;
        anyhow::ensure!(
            observe::probe(&other, &self.topics, SERVED_MS_MAX).await,
            "nobody is served within {SERVED_MS_MAX} ms while {id} has a fault: {:?}",
            self.status().await
        );
        Ok(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Topics and consumer groups.
    ///
    /// # Errors
    ///
    /// When no node makes them.
    pub async fn create_topics(&self) -> anyhow::Result<()> {
        let node = self.nodes.first().context("there are no nodes")?;
        let mut admin = AdminClient::connect(node.uri()).await?;
        for topic in self.topics.all() {
            admin
                .create_topic(v1::CreateTopicRequest {
                    topic: topic.name.clone(),
                    queues: topic.queues,
                    ..Default::default()
                })
                .await?;
        }
        for group in load::CONSUMER_GROUPS {
            admin
                .create_consumer_group(v1::CreateConsumerGroupRequest {
                    consumer_group: group.to_owned(),
                    start_from: v1::StartFrom::First.into(),
                    // Nothing is to become a dead letter here.
                    max_attempts: 1_000,
                    retry_delays_ms: vec![200],
                })
                .await?;
        }
        Ok(())
    }

    /// A connection to the leader of a data group for what only it can do, which may take
    /// `limit_ms`. That of the first one changes members in all of them.
    ///
    /// # Errors
    ///
    /// When there is no leader.
    pub async fn operator(
        &mut self,
        data_group: u32,
        limit_ms: u64,
    ) -> anyhow::Result<ClusterClient<Channel>> {
        let leader = self.leader(data_group).await;
        let leader = leader.context("there is no leader")?;
        observe::connect(&self.node(leader)?.uri(), limit_ms)
    }
}

async fn status(uri: String) -> Vec<DataGroupStatus> {
    const STATUS_MS_MAX: u64 = 1_000;
    let Ok(mut client) = observe::connect(&uri, STATUS_MS_MAX) else {
        return Vec::new();
    };
    let answer = client.status(StatusRequest {}).await;
    answer.map_or_else(|_| Vec::new(), |answer| answer.into_inner().data_groups)
}
