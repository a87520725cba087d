use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_core::placement::Placement;

use crate::blocking::Blocking;
use crate::raft::DiskWatch;
use crate::wal::Wal;

/// What the data groups of a node have in common.
pub(crate) struct Home {
    pub(crate) node_id: u64,
    pub(crate) cluster_id: String,
    pub(crate) instance: u128,
    pub(crate) placement: Placement,
    pub(crate) disk: Arc<DiskWatch>,
    pub(crate) blocking: Blocking,
    pub(crate) wal: Arc<Wal>,
    /// The data groups that still need the write-ahead log.
    pub(crate) inside: Mutex<BTreeSet<u32>>,
}

impl Home {
    /// No data group has ended.
    pub(crate) fn all_inside(placement: Placement) -> Mutex<BTreeSet<u32>> {
        Mutex::new((0..placement.groups()).collect())
    }

    /// A data group has ended. The last one closes the write-ahead log, which gives the data
    /// directory up.
    pub(crate) async fn leave(&self, group: u32) {
        let last = {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            inside.remove(&group);
            inside.is_empty()
        };
        if !last {
            return;
        }
        let wal = Arc::clone(&self.wal);
        if self.blocking.run(move || wal.close()).await.is_err() {
            tracing::error!("closing the log panicked");
        }
    }
}
