//! A cluster under load: nodes of our own on this machine.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
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
    leader: watch::Receiver<Target>,
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
    /// Starts nodes with empty directories, and waits until one of them leads.
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
        let leader = leaders.context("no node says who leads")?;
        let leader = leader.and_then(|leaders| leaders.into_iter().next());
        let leader = leader.context("nobody looks for the leader")?;
        let cluster = Self {
            nodes,
            leader,
            finding,
        };
        cluster.leader().await?;
        Ok(cluster)
    }

    /// Where its nodes serve applications.
    pub(super) fn edges(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.edge.clone()).collect()
    }

    /// The leader's number.
    pub(super) async fn leader(&self) -> anyhow::Result<u64> {
        let mut leader = self.leader.clone();
        let known = leader.wait_for(|leader| *leader != Target::Nobody);
        let target = timeout(PATIENCE, known)
            .await
            .context("no leader")??
            .clone();
        let leads = |node: &&Node| Target::At(node.edge.clone()) == target;
        let node = self.nodes.iter().find(leads);
        Ok(node.context("a node leads that is none of ours")?.id)
    }

    /// The leader as what is under load, with the processes of all nodes.
    pub(super) async fn served(&self) -> anyhow::Result<Served> {
        let leader = self.leader().await?;
        let edge = self.edge(leader)?;
        let processes = self
            .nodes
            .iter()
            .filter_map(|node| node.child.as_ref()?.id());
        Ok(Served {
            uri: format!("http://{edge}"),
            processes: processes.collect(),
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

    /// Waits until the leader knows a node to have everything but the last `lag_max` entries;
    /// how long that took.
    pub(super) async fn caught_up(&self, id: u64, lag_max: u64) -> anyhow::Result<Duration> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let status = self.status().await;
            let members = status.iter().flat_map(|status| &status.members);
            let mut members =
                members.filter(|member| member.node.as_ref().is_some_and(|node| node.id == id));
            if members
                .any(|member| member.reachable && member.matched_index > 0 && member.lag <= lag_max)
            {
                return Ok(started.elapsed());
            }
            sleep(POLL).await;
        }
        anyhow::bail!("node {id} has not caught up within {PATIENCE:?}")
    }

    /// What the leader says of its cluster.
    async fn status(&self) -> Option<StatusResponse> {
        let leader = self.leader().await.ok()?;
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
