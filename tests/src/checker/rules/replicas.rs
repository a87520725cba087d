//! All replicas have the same, and their queues have no holes.

use std::collections::BTreeMap;

use crate::checker::{Queue, QueueName, Replica, Report, Stored, Violation};

pub(crate) fn check(replicas: &[Replica], report: &mut Report) {
    for replica in replicas {
        for (name, queue) in &replica.queues {
            gaps(replica.node, name, queue, report);
        }
    }
    for (first, second) in replicas.iter().zip(replicas.iter().skip(1)) {
        contents(first, second, report);
    }
    digests(replicas, report);
}

fn gaps(node: u64, name: &QueueName, queue: &Queue, report: &mut Report) {
    for (expected, stored) in (queue.first_offset..).zip(&queue.messages) {
        if stored.offset != expected {
            report.add(Violation::Gap, || {
                format!(
                    "{name} on {node} goes on with {} where {expected} should be",
                    stored.offset
                )
            });
            return;
        }
    }
}

/// What has expired on one of them says nothing.
fn contents(first: &Replica, second: &Replica, report: &mut Report) {
    let nothing = Queue::default();
    let names = first.queues.keys().chain(
        second
            .queues
            .keys()
            .filter(|name| !first.queues.contains_key(name)),
    );
    for name in names {
        let left = first.queues.get(name).unwrap_or(&nothing);
        let right = second.queues.get(name).unwrap_or(&nothing);
        let from = left.first_offset.max(right.first_offset);
        let (left, right) = (by_offset(left, from), by_offset(right, from));
        let places = left
            .keys()
            .chain(right.keys().filter(|offset| !left.contains_key(offset)));
        for offset in places {
            let (one, other) = (left.get(offset), right.get(offset));
            if one != other {
                report.add(Violation::Diverged, || {
                    format!(
                        "{name}@{offset} is {} on {} and {} on {}",
                        described(one),
                        first.node,
                        described(other),
                        second.node
                    )
                });
            }
        }
    }
}

fn by_offset(queue: &Queue, from: u64) -> BTreeMap<u64, &Stored> {
    let messages = queue.messages.iter();
    messages
        .filter(|stored| stored.offset >= from)
        .map(|stored| (stored.offset, stored))
        .collect()
}

fn described(stored: Option<&&Stored>) -> String {
    stored.map_or_else(
        || "absent".to_owned(),
        |stored| format!("{} ({:016x})", stored.id, stored.fingerprint),
    )
}

/// Digests can be compared where the same was applied.
fn digests(replicas: &[Replica], report: &mut Report) {
    let mut at: BTreeMap<(u32, u64), (u64, &[u8])> = BTreeMap::new();
    for replica in replicas {
        for (group, applied) in &replica.applied {
            let own = (replica.node, applied.digest.as_slice());
            let (first, digest) = *at.entry((*group, applied.index)).or_insert(own);
            if digest != applied.digest {
                report.add(Violation::Diverged, || {
                    format!(
                        "the digests of {first} and {} of data group {group} at entry {} differ",
                        replica.node, applied.index
                    )
                });
            }
        }
    }
}
