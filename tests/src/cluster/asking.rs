//! What nodes are asked, and what is waited for.

use std::collections::BTreeMap;

use anyhow::Context as _;
use outrigger_proto::cluster::{
    DigestRequest, DigestResponse, StatusRequest, StatusResponse, cluster_client::ClusterClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::{CALL, Cluster, port::get};
use crate::waiting::{PATIENCE, POLL};

impl Cluster {
    /// Whether a node is ready, and what it says to that.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn readiness(&self, id: u64) -> anyhow::Result<(bool, String)> {
        let answer = get(self.http(id), "/ready").await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        Ok((answer.starts_with("HTTP/1.1 200"), body.trim().to_owned()))
    }

    /// What one node says of the cluster.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn status(&self, id: u64) -> anyhow::Result<StatusResponse> {
        let status = async { client(self.edge(id))?.status(StatusRequest {}).await };
        Ok(timeout(CALL, status).await??.into_inner())
    }

    /// What one node has applied of a data group.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn digest(&self, id: u64, data_group: u32) -> anyhow::Result<DigestResponse> {
        let request = DigestRequest { data_group };
        let digest = async { client(self.edge(id))?.digest(request).await };
        Ok(timeout(CALL, digest).await??.into_inner())
    }

    /// Who leads which data group, as far as running nodes say so of themselves.
    pub async fn leads(&self) -> BTreeMap<u32, u64> {
        let mut leads = BTreeMap::new();
        for (id, node) in &self.nodes {
            if node.child.is_none() {
                continue;
            }
            let Ok(status) = self.status(*id).await else {
                continue;
            };
            let led = status.data_groups.iter();
            let led = led.filter(|group| group.leader == *id);
            leads.extend(led.map(|group| (group.data_group, *id)));
        }
        leads
    }

    /// Waits until a node leads, and tells which; it says so itself.
    ///
    /// # Errors
    ///
    /// With what the nodes printed, when none does.
    pub async fn leader(&self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (id, node) in &self.nodes {
                if node.child.is_none() {
                    continue;
                }
                if let Ok(status) = self.status(*id).await
                    && status.leader == *id
                {
                    return Ok(*id);
                }
            }
            if Instant::now() >= deadline {
                let outputs = self.ids().into_iter();
                let outputs: Vec<_> = outputs
                    .map(|id| format!("node {id}:\n{}", self.output(id)))
                    .collect();
                anyhow::bail!("nobody leads\n{}", outputs.join("\n"));
            }
            sleep(POLL).await;
        }
    }

    /// A running node that does not lead.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn follower(&self) -> anyhow::Result<u64> {
        let leader = self.leader().await?;
        let running = self.nodes.iter().filter(|(_, node)| node.child.is_some());
        let mut others = running.map(|(id, _)| *id).filter(|id| *id != leader);
        others.next().context("a node that follows")
    }

    /// Waits until these nodes have applied the same and have the same state, in all data
    /// groups.
    ///
    /// # Errors
    ///
    /// When they do not come to that.
    pub async fn agree(&self, ids: &[u64]) -> anyhow::Result<()> {
        let first = ids.first().context("a node")?;
        let groups = self.status(*first).await?.data_groups.len();
        for group in 0..u32::try_from(groups)? {
            self.agree_in(ids, group).await?;
        }
        Ok(())
    }

    async fn agree_in(&self, ids: &[u64], data_group: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut seen = Vec::new();
            for id in ids {
                seen.push(self.digest(*id, data_group).await);
            }
            let known: Vec<_> = seen.iter().flatten().collect();
            let same = known.windows(2).all(|pair| match pair {
                [a, b] => (a.applied_index, &a.digest) == (b.applied_index, &b.digest),
                _ => true,
            });
            if same && known.len() == ids.len() {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the replicas of data group {data_group} differ: {seen:?}"
            );
            sleep(POLL).await;
        }
    }
}

fn client(edge: &str) -> Result<ClusterClient<Channel>, tonic::Status> {
    let endpoint = Endpoint::from_shared(format!("http://{edge}"));
    let endpoint = endpoint.map_err(|error| tonic::Status::internal(error.to_string()))?;
    Ok(ClusterClient::new(
        endpoint.connect_timeout(CALL).connect_lazy(),
    ))
}
