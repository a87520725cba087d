//! A cluster under load: nodes of our own on this machine.

use std::{
    collections::BTreeSet,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use outrigger_core::placement::{Placement, TopicHome};
use outrigger_proto::cluster::{StatusRequest, StatusResponse, cluster_client::ClusterClient};
use tokio::{
    process::Child,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    served::Served,
    sidecar::{program, stop},
};
use crate::forward::{Finder, FinderOptions, Target};

/// How long a cluster may take to find a leader, and a node to catch up.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Nodes that form a cluster.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    /// Of every data group.
    leaders: Vec<watch::Receiver<Target>>,
    finding: JoinHandle<()>,
}

struct Node {
    id: u64,
    data: PathBuf,
    edge: String,
    peers: String,
    groups: u32,
    child: Option<Child>,
}

impl Cluster {
    /// Starts nodes with empty directories, and waits until they lead all data groups: each its
    /// share.
    pub(super) async fn start(directory: &Path, count: u32, groups: u32) -> anyhow::Result<Self> {
        let ids = 1..=u64::from(count);
        let free = |_| free_address();
        let addresses = ids.clone().map(free).collect::<anyhow::Result<Vec<_>>>()?;
        let edges = ids.clone().map(free).collect::<anyhow::Result<Vec<_>>>()?;
        let named = ids.clone().zip(&addresses);
        let peers: Vec<String> = named
            .map(|(id, address)| format!("{id}={address}"))
            .collect();
        let mut nodes = Vec::new();
        for (id, edge) in ids.zip(&edges) {
            let mut node = Node {
                id,
                data: directory.join(format!("node-{id}")),
                edge: edge.clone(),
                peers: peers.join(","),
                groups,
                child: None,
            };
            node.start()?;
            nodes.push(node);
        }
        let (finder, mut leaders) = Finder::new(edges, FinderOptions::default());
        let finding = tokio::spawn(finder.run(Arc::new(Notify::new())));
        let leaders = timeout(PATIENCE, leaders.known()).await;
        let leaders = leaders.context("no node says who leads")?;
        let leaders = leaders.context("nobody looks for the leaders")?;
        let cluster = Self {
            nodes,
            leaders,
            finding,
        };
        let spread = timeout(PATIENCE, cluster.spread()).await;
        spread.context("the leads are not spread")??;
        Ok(cluster)
    }

    /// Waits until as many nodes lead as can.
    async fn spread(&self) -> anyhow::Result<()> {
        loop {
            let mut leading = BTreeSet::new();
            for group in 0..self.groups() {
                leading.insert(self.leader(group).await?);
            }
            if leading.len() == self.leaders.len().min(self.nodes.len()) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    fn groups(&self) -> u32 {
        u32::try_from(self.leaders.len()).unwrap_or(u32::MAX)
    }

    /// The data group that has a topic.
    pub(super) fn home(&self, topic: &str) -> anyhow::Result<u32> {
        match Placement::new(self.groups())?.topic(topic) {
            TopicHome::One(group) => Ok(group),
            TopicHome::Every => anyhow::bail!("{topic} lies in every data group"),
        }
    }

    /// Where its nodes serve applications.
    pub(super) fn edges(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.edge.clone()).collect()
    }

    /// The number of a data group's leader.
    pub(super) async fn leader(&self, group: u32) -> anyhow::Result<u64> {
        let leader = self.leaders.get(group as usize);
        let mut leader = leader.context("no such data group")?.clone();
        let known = leader.wait_for(|leader| *leader != Target::Nobody);
        let target = timeout(PATIENCE, known)
            .await
            .context("no leader")??
            .clone();
        let leads = |node: &&Node| Target::At(node.edge.clone()) == target;
        let node = self.nodes.iter().find(leads);
        Ok(node.context("a node leads that is none of ours")?.id)
    }

    /// The leader of the first data group as what is under load, with the processes of all nodes.
    pub(super) async fn served(&self) -> anyhow::Result<Served> {
        let leader = self.leader(0).await?;
        let edge = self.edge(leader)?;
        let processes = self
            .nodes
            .iter()
            .filter_map(|node| node.child.as_ref()?.id());
        Ok(Served {
            uri: format!("http://{edge}"),
            processes: processes.collect(),
            helpers: Vec::new(),
        })
    }

    /// As kill -9. Returns when the process is gone.
    pub(super) async fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        let node = self.node(id)?;
        let mut child = node.child.take().context("it does not run")?;
        child.kill().await?;
        Ok(())
    }

    pub(super) fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        self.node(id)?.start()
    }

    /// Waits until the leaders know a node to have everything but the last `lag_max` entries of
    /// each data group; how long that took.
    pub(super) async fn caught_up(&self, id: u64, lag_max: u64) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for group in 0..self.groups() {
            while !self.has_caught_up(group, id, lag_max).await {
                anyhow::ensure!(
                    started.elapsed() < PATIENCE,
                    "node {id} has not caught up within {PATIENCE:?}"
                );
                sleep(POLL).await;
            }
        }
        Ok(started.elapsed())
    }

    async fn has_caught_up(&self, group: u32, id: u64, lag_max: u64) -> bool {
        let status = self.status(group).await;
        let groups = status.iter().flat_map(|status| &status.data_groups);
        let replicas = groups
            .filter(|status| status.data_group == group)
            .flat_map(|status| &status.replicas);
        let mut own = replicas.filter(|replica| replica.id == id);
        own.any(|own| own.reachable && own.matched_index > 0 && own.lag <= lag_max)
    }

    /// What the leader of a data group says.
    async fn status(&self, group: u32) -> Option<StatusResponse> {
        let leader = self.leader(group).await.ok()?;
        let uri = format!("http://{}", self.edge(leader).ok()?);
        let asking = async {
            let mut client = ClusterClient::connect(uri).await.ok()?;
            Some(client.status(StatusRequest {}).await.ok()?.into_inner())
        };
        timeout(ANSWER_MAX, asking).await.ok()?
    }

    pub(super) async fn stop(mut self) {
        self.finding.abort();
        let children = self.nodes.iter_mut().filter_map(|node| node.child.as_mut());
        futures::future::join_all(children.map(stop)).await;
    }

    fn edge(&self, id: u64) -> anyhow::Result<&str> {
        let node = self.nodes.iter().find(|node| node.id == id);
        Ok(&node.context("no such node")?.edge)
    }

    fn node(&mut self, id: u64) -> anyhow::Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.context("no such node")
    }
}

impl Node {
    fn start(&mut self) -> anyhow::Result<()> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))?;
        let child = program()?
            .args(["node", "--id", &self.id.to_string()])
            .args(["--peers", &self.peers])
            .args(["--groups", &self.groups.to_string()])
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", &self.edge, "--http", "127.0.0.1:0"])
            .stderr(output)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }
}

/// A port of the loopback that is free now, for a process that is started next.
fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
