use std::path::PathBuf;

use serde::Serialize;

/// What the command line may override.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overrides {
    /// `--data`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// `--listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// `--http`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// `--groups`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u32>,
    /// What `outrigger sidecar` has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarOverrides>,
    /// What `outrigger node` has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterOverrides>,
}

/// What the command line of `outrigger sidecar` may override.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SidecarOverrides {
    /// `--log`
    pub nodes: Vec<String>,
}

impl SidecarOverrides {
    /// `None` when no node is named, so that the file may name them.
    #[must_use]
    pub fn with_nodes(nodes: Vec<String>) -> Option<Self> {
        (!nodes.is_empty()).then_some(Self { nodes })
    }
}

/// What the command line of `outrigger node` may override.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClusterOverrides {
    /// `--id`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// `--peers`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<String>,
    /// `--peer-listen`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_listen: Option<String>,
    /// `--peer-advertise`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_advertise: Option<String>,
    /// `--advertise`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
}
