//! What was acknowledged is there, once, where it was said to be; and nothing else is.

use std::collections::{BTreeSet, HashMap};

use crate::checker::{
    History, Outcome, Replica, Report, Violation,
    replica::{Places, QueueName, Stored},
};

/// What a message that may be there is like.
struct Expected<'a> {
    topic: &'a str,
    fingerprint: u64,
}

pub(crate) fn check(history: &History, replicas: &[Replica], report: &mut Report) {
    let expected = expected(history);
    let indexed: Vec<_> = replicas
        .iter()
        .map(|replica| (replica, replica.places()))
        .collect();
    acknowledged(history, &indexed, report);
    let mut seen = BTreeSet::new();
    for (replica, places) in &indexed {
        for (id, found) in places {
            check_found(replica, id, found, &expected, &mut seen, report);
        }
    }
}

/// Every message that is allowed to be there.
fn expected(history: &History) -> HashMap<&str, Expected<'_>> {
    let sends = history
        .sends
        .iter()
        .filter(|send| send.outcome != Outcome::Refused)
        .map(|send| (send.id.as_str(), &send.topic, send.fingerprint));
    let transactions = history
        .transactions
        .iter()
        .filter(|transaction| !transaction.is_forbidden())
        .flat_map(|transaction| &transaction.messages)
        .map(|message| (message.id.as_str(), &message.topic, message.fingerprint));
    sends
        .chain(transactions)
        .map(|(id, topic, fingerprint)| (id, Expected { topic, fingerprint }))
        .collect()
}

fn acknowledged(history: &History, replicas: &[(&Replica, Places<'_>)], report: &mut Report) {
    for send in history.sends.iter().filter(|send| send.is_acknowledged()) {
        let promised = send.place();
        let id = send.id.as_str();
        let lacking = replicas.iter().filter(|(replica, places)| {
            let is_expired = promised
                .as_ref()
                .is_some_and(|place| replica.is_expired(place));
            !is_expired && !places.contains_key(id)
        });
        let lacking: Vec<_> = lacking.map(|(replica, _)| replica.node).collect();
        if !lacking.is_empty() {
            report.add(Violation::Lost, || match &promised {
                Some(place) => format!("{id}, acknowledged at {place}, is not on {lacking:?}"),
                None => format!("{id}, acknowledged, is not on {lacking:?}"),
            });
        }
        let Some(place) = promised else { continue };
        let elsewhere = replicas.iter().find_map(|(replica, places)| {
            let found = places.get(id)?;
            let is_there = |(name, stored): &(&QueueName, &Stored)| {
                **name == place.queue && stored.offset == place.offset
            };
            let (name, stored) = found.first()?;
            (!found.iter().any(is_there)).then_some((replica.node, *name, stored.offset))
        });
        if let Some((node, name, offset)) = elsewhere {
            report.add(Violation::Misplaced, || {
                format!("{id}, acknowledged at {place}, is at {name}@{offset} on {node}")
            });
        }
    }
}

/// One message is reported once, however many replicas have it.
fn check_found<'a>(
    replica: &Replica,
    id: &'a str,
    found: &[(&QueueName, &Stored)],
    expected: &HashMap<&str, Expected<'_>>,
    seen: &mut BTreeSet<(&'a str, Violation)>,
    report: &mut Report,
) {
    let node = replica.node;
    let mut add = |violation, what: &dyn Fn() -> String| {
        if seen.insert((id, violation)) {
            report.add(violation, what);
        }
    };
    if found.len() > 1 {
        add(Violation::Duplicated, &|| {
            let places = found
                .iter()
                .map(|(name, stored)| format!("{name}@{}", stored.offset));
            let places: Vec<_> = places.collect();
            format!("{id} is at {} on {node}", places.join(", "))
        });
    }
    for (name, stored) in found {
        let at = || format!("{name}@{} on {node}", stored.offset);
        match expected.get(id) {
            Some(expected) if expected.topic != name.topic => {
                add(Violation::Phantom, &|| {
                    format!("{id}, sent to {}, is at {}", expected.topic, at())
                });
            }
            Some(expected) if expected.fingerprint != stored.fingerprint => {
                add(Violation::Altered, &|| {
                    format!("{id} at {} is not as it was sent", at())
                });
            }
            Some(_) => {}
            None => add(Violation::Phantom, &|| {
                format!("{id} must not be at {}", at())
            }),
        }
    }
}
