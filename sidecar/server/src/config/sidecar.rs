use serde::{Deserialize, Serialize};

use super::{Error, within};

/// A sidecar without a log of its own; for `outrigger sidecar` only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SidecarConfig {
    /// Where nodes of the cluster serve applications, as in `127.0.0.1:7070`. Any of them
    /// tells who leads.
    pub nodes: Vec<String>,
    /// How long a call waits for a leader before it is refused with UNAVAILABLE.
    pub leader_wait_ms: u64,
}

impl Default for SidecarConfig {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            leader_wait_ms: 5_000,
        }
    }
}

impl SidecarConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        let limit = "a host and a port, as in 127.0.0.1:7070";
        for node in &self.nodes {
            let port = node.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            let is_uri = format!("http://{node}").parse::<http::Uri>().is_ok();
            if !matches!(port, Some(Ok(_))) || !is_uri {
                return Err(Error::value("sidecar.nodes", node, limit));
            }
        }
        within("sidecar.leader_wait_ms", self.leader_wait_ms, 0, 600_000)
    }
}
