use clap::ValueEnum;
use outrigger_proto::v1;
use serde::{Deserialize, Serialize};

/// When sends are answered, as the configuration and the command line say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On the disks of a majority of the nodes
    #[default]
    Synced,
    /// In the memory of a majority, and on their disks within a second
    Replicated,
    /// Taken by the leader; nothing more is promised
    Accepted,
}

impl From<Durability> for outrigger_log::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Synced => Self::Synced,
            Durability::Replicated => Self::Replicated,
            Durability::Accepted => Self::Accepted,
        }
    }
}

impl From<Durability> for outrigger_sdk::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Synced => Self::Synced,
            Durability::Replicated => Self::Replicated,
            Durability::Accepted => Self::Accepted,
        }
    }
}

impl From<Durability> for v1::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Synced => Self::Synced,
            Durability::Replicated => Self::Replicated,
            Durability::Accepted => Self::Accepted,
        }
    }
}
