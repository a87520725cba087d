//! What a run consists of.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::Serialize;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// kill -9 of one process; its machine goes on.
    Kill,
    /// SIGSTOP, for longer than an election takes.
    Pause,
    /// A node hears nobody, is heard by nobody, or both.
    Partition,
    /// Machines lose their power, and their disks what was not synced: one, most, or all.
    Power,
    /// No file can be created or grow.
    DiskFull,
    /// A bit in a stopped node's log is flipped.
    Bitflip,
    /// Leadership is handed over, a node is added and removed, or a lost one is replaced.
    Membership,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::Power,
        Self::DiskFull,
        Self::Bitflip,
        Self::Membership,
    ];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Power => "power",
            Self::DiskFull => "disk-full",
            Self::Bitflip => "bitflip",
            Self::Membership => "membership",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no fault {0:?}; there are kill, pause, partition, power, disk-full, bitflip, membership"
)]
pub struct UnknownFault(String);

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes' program.
    pub program: PathBuf,
    /// How many nodes.
    pub nodes: u64,
    /// How many data groups the cluster has.
    pub groups: u32,
    /// How often something is broken and healed.
    pub rounds: u32,
    /// Chooses the faults.
    pub seed: u64,
    /// From which faults to choose.
    pub faults: Vec<FaultKind>,
    /// Where everything is kept; not there yet.
    pub directory: PathBuf,
    /// All disks pretend to sync, and power always goes everywhere: a run that has to end
    /// with lost messages, or the checker is none.
    pub disks_lie: bool,
    /// Environment variables of the nodes.
    pub environment: Vec<(String, String)>,
}
