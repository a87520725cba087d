//! Consumers receive what is there, all of it, and nothing again that they acknowledged.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::checker::{Delivery, History, Place, Replica, Report, Stored, Violation};

pub(crate) fn check(history: &History, replicas: &[Replica], report: &mut Report) {
    redelivered(history, report);
    for replica in replicas {
        unstored(history, replica, report);
    }
    if let Some(replica) = replicas.first() {
        undelivered(history, replica, report);
    }
}

fn redelivered(history: &History, report: &mut Report) {
    let mut acks: HashMap<(&str, &Place), u64> = HashMap::new();
    for ack in &history.acks {
        let first = acks
            .entry((&ack.group, &ack.place))
            .or_insert(ack.confirmed_at_ms);
        *first = ack.confirmed_at_ms.min(*first);
    }
    for delivery in &history.deliveries {
        let Some(confirmed_at_ms) = acks.get(&(delivery.group.as_str(), &delivery.place)) else {
            continue;
        };
        if delivery.leased_at_ms > *confirmed_at_ms {
            report.add(Violation::AckedRedelivered, || {
                format!(
                    "{} at {} was leased to {} again {} ms after its ack was confirmed",
                    delivery.id,
                    delivery.place,
                    delivery.group,
                    delivery.leased_at_ms - confirmed_at_ms
                )
            });
        }
    }
}

/// A delivery of something that is not there was one of something that could still go.
fn unstored(history: &History, replica: &Replica, report: &mut Report) {
    let mut stored: HashMap<(&str, u32, u64), &Stored> = HashMap::new();
    for (name, queue) in &replica.queues {
        for message in &queue.messages {
            stored.insert((&name.topic, name.queue, message.offset), message);
        }
    }
    let mut reported = BTreeSet::new();
    for delivery in &history.deliveries {
        let place = &delivery.place;
        let key = (place.queue.topic.as_str(), place.queue.queue, place.offset);
        let found = stored.get(&key);
        let is_same = found.is_some_and(|found| is_same(found, delivery));
        if is_same || replica.is_expired(place) || !reported.insert(key) {
            continue;
        }
        report.add(Violation::Phantom, || {
            format!(
                "{} was delivered to {} from {place}, where {} has {}",
                delivery.id,
                delivery.group,
                replica.node,
                found.map_or("nothing", |found| found.id.as_str())
            )
        });
    }
}

fn is_same(stored: &Stored, delivery: &Delivery) -> bool {
    stored.id == delivery.id && stored.fingerprint == delivery.fingerprint
}

fn undelivered(history: &History, replica: &Replica, report: &mut Report) {
    for (group, topic) in &history.drained {
        let deliveries = history.deliveries.iter();
        let delivered: HashSet<(u32, u64)> = deliveries
            .filter(|delivery| delivery.group == *group && delivery.place.queue.topic == *topic)
            .map(|delivery| (delivery.place.queue.queue, delivery.place.offset))
            .collect();
        let queues = replica.queues.iter();
        for (name, queue) in queues.filter(|(name, _)| name.topic == *topic) {
            for stored in &queue.messages {
                if !delivered.contains(&(name.queue, stored.offset)) {
                    report.add(Violation::Undelivered, || {
                        format!(
                            "{} at {name}@{} never reached {group}",
                            stored.id, stored.offset
                        )
                    });
                }
            }
        }
    }
}
