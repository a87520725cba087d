//! Floor checkpoints as the Raft group knows them.

use std::io;
use std::sync::Arc;

use openraft::RaftSnapshotBuilder;

use super::types::{LogId, TypeConfig};
use crate::floor::{FloorFile, Floors};

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
    pub(super) floors: Arc<Floors>,
    /// The one to hand out.
    pub(super) latest: Option<LogId>,
}

impl RaftSnapshotBuilder<TypeConfig> for FloorCheckpoints {
    type SnapshotData = FloorFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let Some(latest) = self.latest else {
            let message = "the log is purged, and there is no floor checkpoint to go on from";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        self.floors.get(latest.index).map(snapshot)
    }
}
