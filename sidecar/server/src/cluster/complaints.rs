use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Nodes that are complained about, at most; others are logged every time.
const NODES_COUNT_MAX: usize = 1_024;

/// What is wrong with other nodes. Each thing is logged once, until it has changed.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<String, String>>);

impl Complaints {
    /// Logs a problem, unless it was the last thing logged of this node.
    pub(crate) fn about(&self, node: impl fmt::Display, problem: impl fmt::Display) {
        let (node, problem) = (node.to_string(), problem.to_string());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&node) == Some(&problem) {
            return;
        }
        tracing::warn!(peer = node, problem, "another node");
        if known.len() < NODES_COUNT_MAX {
            known.insert(node, problem);
        }
    }

    /// The node works.
    pub(crate) fn settled(&self, node: impl fmt::Display) {
        let node = node.to_string();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.remove(&node).is_some() {
            tracing::info!(peer = node, "another node answers again");
        }
    }
}
