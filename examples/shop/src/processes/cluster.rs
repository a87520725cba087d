use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{Environment, Failures, Supervised, free_address};

/// The nodes that keep the log of a run together.
#[derive(Default)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    process: Supervised,
    edge: SocketAddr,
    http: SocketAddr,
}

impl Cluster {
    /// Starts so many nodes with empty directories, for so many data groups.
    pub(crate) fn start(
        binary: &Path,
        directory: &Path,
        count: usize,
        groups: u32,
        environment: &Environment,
        failures: &Failures,
    ) -> anyhow::Result<Self> {
        let peers = (0..count)
            .map(|_| free_address())
            .collect::<anyhow::Result<Vec<_>>>()?;
        let named = (1..).zip(&peers);
        let named: Vec<String> = named
            .map(|(id, peer): (u32, _)| format!("{id}={peer}"))
            .collect();
        let peers = named.join(",");
        let mut nodes = Vec::new();
        for id in 1..=count {
            let (edge, http) = (free_address()?, free_address()?);
            let name = format!("node-{id}");
            let data = directory.join(&name);
            let (binary, peers) = (PathBuf::from(binary), peers.clone());
            let environment = environment.clone();
            let process = Supervised::start(name, directory, failures, move |_| {
                let mut command = Command::new(&binary);
                command
                    .args(["node", "--id", &id.to_string(), "--peers", &peers])
                    .args(["--groups", &groups.to_string()])
                    .arg("--data")
                    .arg(&data)
                    .args(["--listen", &edge.to_string()])
                    .args(["--http", &http.to_string()])
                    .envs(environment.clone());
                command
            });
            nodes.push(Node {
                process,
                edge,
                http,
            });
        }
        Ok(Self { nodes })
    }

    /// Where sidecars reach the nodes.
    pub(crate) fn edges(&self) -> String {
        let edges: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.edge.to_string())
            .collect();
        edges.join(",")
    }

    /// Those of the nodes that answer 200 when they take part.
    pub(crate) fn ready_urls(&self) -> impl Iterator<Item = String> {
        let nodes = self.nodes.iter();
        nodes.map(|node| format!("http://{}/ready", node.http))
    }

    /// The node with this number, from 1.
    pub(crate) fn node(&self, id: u64) -> Option<&Supervised> {
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        Some(&self.nodes.get(place)?.process)
    }

    pub(crate) fn kills(&self) -> u64 {
        self.nodes.iter().map(|node| node.process.kills()).sum()
    }

    /// All of them at once: one alone could not hand over what it leads.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let stopping = self.nodes.into_iter().map(|node| node.process.stop());
        futures::future::try_join_all(stopping).await.map(drop)
    }
}
