use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Courier;
use super::lane::Lane;
use crate::log::Log;

/// Takes the messages of a data group to where they are for, a task for each target. To be
/// run while this node leads the group, and stopped by dropping it: two that run at the same
/// time do no harm.
pub async fn run(log: Log, courier: Arc<dyn Courier>) {
    let mut more = log.watch_outgoing();
    let mut lanes = JoinSet::new();
    let mut known = BTreeSet::new();
    loop {
        more.borrow_and_update();
        for target in log.outgoing_targets() {
            if known.insert(target) {
                let lane = Lane::new(log.clone(), target, Arc::clone(&courier));
                lanes.spawn(lane.run(more.clone()));
            }
        }
        if more.changed().await.is_err() {
            return;
        }
    }
}
