//! Messages of one producer and key are in one queue, in the order in which they were sent.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::checker::{History, Order, Queue, QueueName, Replica, Report, Violation};

pub(crate) fn check(history: &History, replicas: &[Replica], report: &mut Report) {
    let ordered: HashMap<&str, &Order> = history
        .sends
        .iter()
        .filter_map(|send| Some((send.id.as_str(), send.order.as_ref()?)))
        .collect();
    let mut reported = BTreeSet::new();
    for replica in replicas {
        let mut homes = HashMap::new();
        for (name, queue) in &replica.queues {
            for (id, example) in out_of_order(name, queue, &ordered, &mut homes) {
                if reported.insert(id) {
                    report.add(Violation::Reordered, || {
                        format!("{example} on {}", replica.node)
                    });
                }
            }
        }
    }
}

type Homes<'a> = HashMap<(&'a str, &'a str, &'a str), u32>;

fn out_of_order<'a>(
    name: &'a QueueName,
    queue: &'a Queue,
    ordered: &HashMap<&str, &'a Order>,
    homes: &mut Homes<'a>,
) -> Vec<(&'a str, String)> {
    let mut found = Vec::new();
    let mut last: HashMap<(&str, &str), (u64, &str)> = HashMap::new();
    // A second copy is a duplicate, not a second mistake.
    let mut met = HashSet::new();
    for stored in &queue.messages {
        let Some(order) = ordered.get(stored.id.as_str()) else {
            continue;
        };
        if !met.insert(stored.id.as_str()) {
            continue;
        }
        let (producer, key) = (order.producer.as_str(), order.key.as_str());
        let home = *homes
            .entry((&name.topic, producer, key))
            .or_insert(name.queue);
        if home != name.queue {
            let example = format!(
                "{} of {producer} and key {key} is in {name}, others are in queue {home}",
                stored.id
            );
            found.push((stored.id.as_str(), example));
        }
        let (latest, id) = last
            .entry((producer, key))
            .or_insert((order.sequence, &stored.id));
        if order.sequence < *latest {
            let example = format!(
                "{} (number {}) of {producer} and key {key} is behind {id} (number {latest}) in {name}",
                stored.id, order.sequence
            );
            found.push((stored.id.as_str(), example));
        } else {
            (*latest, *id) = (order.sequence, &stored.id);
        }
    }
    found
}
