use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::replica::Replica;

/// Which replicas are connected.
#[derive(Default)]
pub(super) struct Registry {
    groups: Mutex<BTreeMap<String, Group>>,
}

#[derive(Default)]
struct Group {
    replicas: Vec<Arc<Replica>>,
    turn: usize,
}

impl Registry {
    /// False when the group has `replicas_max` replicas already.
    pub(super) fn add(&self, group: &str, replica: Arc<Replica>, replicas_max: usize) -> bool {
        let mut groups = self.groups();
        let group = groups.entry(group.to_owned()).or_default();
        let fits = group.replicas.len() < replicas_max;
        if fits {
            group.replicas.push(replica);
        }
        fits
    }

    pub(super) fn remove(&self, group: &str, replica: &Arc<Replica>) {
        let mut groups = self.groups();
        if let Some(members) = groups.get_mut(group) {
            members
                .replicas
                .retain(|member| !Arc::ptr_eq(member, replica));
            if members.replicas.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// All replicas of a group in the order of asking: each call begins with the next one,
    /// and those that did not answer lately come last.
    pub(super) fn in_turn(&self, group: &str) -> Vec<Arc<Replica>> {
        let mut groups = self.groups();
        let Some(group) = groups.get_mut(group) else {
            return Vec::new();
        };
        group.turn = group.turn.wrapping_add(1);
        let mut replicas = group.replicas.clone();
        let start = group.turn % replicas.len().max(1);
        replicas.rotate_left(start);
        replicas.sort_by_key(|replica| replica.is_silent());
        replicas
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
