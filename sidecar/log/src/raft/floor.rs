//! Floor checkpoints as the Raft group knows them.

use std::io;
use std::sync::Arc;

use openraft::RaftSnapshotBuilder;

use super::types::TypeConfig;
use crate::floor::FloorFile;

pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(super) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, FloorFile>;

/// The floor checkpoint as what a node without these entries is given.
pub(super) fn snapshot(file: FloorFile) -> Snapshot {
    let meta = SnapshotMeta {
        last_log_id: Some(file.header.applied),
        last_membership: file.header.membership.clone(),
    };
    Snapshot {
        meta,
        snapshot: file,
    }
}

/// Hands out a floor checkpoint. It was written long ago.
#[derive(Clone, Debug)]
pub(crate) struct FloorCheckpoints {
    /// The one to hand out, open since it was chosen.
    pub(super) latest: Result<Option<FloorFile>, Arc<io::Error>>,
}

impl RaftSnapshotBuilder<TypeConfig> for FloorCheckpoints {
    type SnapshotData = FloorFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let latest = self.latest.clone().map_err(io::Error::other)?;
        let Some(latest) = latest else {
            let message = "there is no floor checkpoint yet";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        Ok(snapshot(latest))
    }
}
