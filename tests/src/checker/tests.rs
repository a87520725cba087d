//! Every violation is found in a history in which it was planted, and nothing else is.

use super::*;

const GROUP: &str = "stock";
const TOPIC: &str = "orders";

fn name(queue: u32) -> QueueName {
    QueueName {
        topic: TOPIC.to_owned(),
        queue,
    }
}

fn place(queue: u32, offset: u64) -> Place {
    Place {
        queue: name(queue),
        offset,
    }
}

fn fingerprint(id: &str) -> u64 {
    id.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte))
}

fn send(id: &str, sequence: u64, outcome: Outcome) -> Send {
    Send {
        id: id.to_owned(),
        topic: TOPIC.to_owned(),
        fingerprint: fingerprint(id),
        order: Some(Order {
            producer: "p".to_owned(),
            key: "k".to_owned(),
            sequence,
        }),
        outcome,
    }
}

fn transaction(id: &str, decision: Decision, resolved: Resolve) -> Transaction {
    let message = |id: String| TransactionMessage {
        fingerprint: fingerprint(&id),
        topic: TOPIC.to_owned(),
        id,
    };
    Transaction {
        id: id.to_owned(),
        messages: vec![message(format!("{id}-0")), message(format!("{id}-1"))],
        decision,
        prepared: Outcome::Acknowledged(None),
        resolved,
    }
}

fn stored(offset: u64, id: &str) -> Stored {
    Stored {
        offset,
        id: id.to_owned(),
        fingerprint: fingerprint(id),
    }
}

fn applied(index: u64, digest: u8) -> Applied {
    Applied {
        index,
        digest: vec![digest],
    }
}

fn delivery(offset: u64, id: &str, leased_at_ms: u64) -> Delivery {
    Delivery {
        group: GROUP.to_owned(),
        place: place(0, offset),
        id: id.to_owned(),
        fingerprint: fingerprint(id),
        leased_at_ms,
    }
}

/// Two acknowledged sends with a failed and a refused one between them, a transaction of each
/// kind, everything delivered, one message twice before its ack.
fn run() -> (History, Vec<Replica>) {
    let history = History {
        sends: vec![
            send("a", 1, Outcome::Acknowledged(Some((0, 0)))),
            send("b", 2, Outcome::Unknown),
            send("c", 3, Outcome::Refused),
            send("d", 4, Outcome::Acknowledged(Some((0, 2)))),
            send("e", 5, Outcome::Acknowledged(None)),
        ],
        transactions: vec![
            transaction("t", Decision::Commit, Resolve::Acknowledged),
            transaction("u", Decision::Commit, Resolve::Unknown),
            transaction("v", Decision::Rollback, Resolve::Acknowledged),
            transaction("w", Decision::Commit, Resolve::CheckedBack),
        ],
        deliveries: vec![
            delivery(0, "a", 10),
            delivery(0, "a", 20),
            delivery(1, "b", 10),
            delivery(2, "d", 10),
            delivery(3, "e", 10),
            delivery(4, "t-0", 10),
            delivery(5, "t-1", 10),
            delivery(6, "w-0", 10),
            delivery(7, "w-1", 10),
        ],
        acks: vec![Ack {
            group: GROUP.to_owned(),
            place: place(0, 0),
            confirmed_at_ms: 20,
        }],
        drained: vec![(GROUP.to_owned(), TOPIC.to_owned())],
    };
    let ids = ["a", "b", "d", "e", "t-0", "t-1", "w-0", "w-1"];
    let messages: Vec<_> = (0..).zip(ids).map(|(at, id)| stored(at, id)).collect();
    let queue = Queue {
        first_offset: 0,
        messages,
    };
    let replica = |node| Replica {
        node,
        queues: [(name(0), queue.clone())].into(),
        applied: [(0, applied(42, 1)), (1, applied(7, 2))].into(),
    };
    (history, vec![replica(1), replica(2), replica(3)])
}

fn messages(replica: &mut Replica) -> &mut Vec<Stored> {
    &mut replica.queues.get_mut(&name(0)).expect("a queue").messages
}

/// Plants something, on all replicas alike, and checks that exactly these violations are seen.
fn planted(plant: impl Fn(&mut History, &mut Replica), expected: &[(Violation, u64)]) {
    let (mut history, mut replicas) = run();
    for replica in &mut replicas {
        plant(&mut history, replica);
    }
    assert_found(&history, &replicas, expected);
}

fn assert_found(history: &History, replicas: &[Replica], expected: &[(Violation, u64)]) {
    let report = check(history, replicas);
    let found: Vec<_> = Violation::ALL
        .into_iter()
        .map(|violation| (violation, report.count(violation)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(found, expected, "{report}");
    assert_eq!(report.is_clean(), expected.is_empty());
    for (violation, _) in expected {
        assert!(!report.findings[violation].examples.is_empty());
    }
}

/// Puts other messages into queue 0 and delivers them as they are.
fn hold(history: &mut History, replica: &mut Replica, ids: &[&str]) {
    *messages(replica) = (0..)
        .zip(ids)
        .map(|(offset, id)| stored(offset, id))
        .collect();
    history.deliveries = (0..)
        .zip(ids)
        .map(|(offset, id)| delivery(offset, id, 10))
        .collect();
}

#[test]
fn a_run_as_it_should_be_is_clean_and_counted() {
    planted(|_, _| {}, &[]);
    let (history, replicas) = run();
    let report = check(&history, &replicas);
    assert_eq!(report.attempted, 13);
    assert_eq!(report.acknowledged, 3 + 4);
    assert_eq!(report.stored, 8);
    assert_eq!(report.delivered, 9);
}

#[test]
fn a_failed_call_may_have_left_nothing() {
    let plant = |history: &mut History, replica: &mut Replica| {
        let ids = ["a", "e", "d", "t-0", "t-1", "w-0", "w-1"];
        hold(history, replica, &ids);
        history.sends.retain(|send| send.id != "e");
        history.sends.push(send("e", 3, Outcome::Unknown));
        history.sends[0].outcome = Outcome::Acknowledged(None);
    };
    planted(plant, &[]);
    planted(
        |history, replica| {
            plant(history, replica);
            messages(replica).pop();
            messages(replica).pop();
            history.deliveries.truncate(5);
            history.transactions[3].prepared = Outcome::Unknown;
        },
        &[],
    );
}

#[test]
fn a_lost_message_is_found_wherever_it_is_missing() {
    planted(
        |history, replica| {
            let ids = ["a", "b", "d", "t-0", "t-1", "w-0", "w-1"];
            hold(history, replica, &ids);
        },
        &[(Violation::Lost, 1)],
    );
    let (history, mut replicas) = run();
    messages(&mut replicas[1]).pop();
    assert_found(
        &history,
        &replicas,
        &[
            (Violation::Lost, 1),
            (Violation::Phantom, 1),
            // It has one neighbour on either side to be compared with.
            (Violation::Diverged, 2),
            (Violation::TornTransaction, 1),
        ],
    );
}

#[test]
fn a_committed_transaction_that_is_missing_is_lost() {
    for gone in ["t", "w"] {
        planted(
            |history, replica| {
                let ids = ["a", "b", "d", "e", "t-0", "t-1", "w-0", "w-1"];
                let left: Vec<_> = ids.into_iter().filter(|id| !id.starts_with(gone)).collect();
                hold(history, replica, &left);
            },
            &[(Violation::Lost, 2)],
        );
    }
}

#[test]
fn what_has_expired_is_not_lost() {
    planted(
        |history, replica| {
            messages(replica).remove(0);
            replica
                .queues
                .get_mut(&name(0))
                .expect("a queue")
                .first_offset = 1;
            history.acks.clear();
        },
        &[],
    );
}

#[test]
fn a_message_at_two_places_is_duplicated() {
    planted(
        |history, replica| {
            let ids = ["a", "b", "d", "e", "t-0", "t-1", "w-0", "w-1", "a"];
            hold(history, replica, &ids);
        },
        &[(Violation::Duplicated, 1)],
    );
}

#[test]
fn what_must_not_be_there_is_a_phantom() {
    let plant = |more: &'static [&str]| {
        move |history: &mut History, replica: &mut Replica| {
            let ids = ["a", "b", "d", "e", "t-0", "t-1", "w-0", "w-1"];
            hold(history, replica, &[&ids, more].concat());
        }
    };
    // Never attempted, refused, and both messages of what was rolled back.
    planted(plant(&["x"]), &[(Violation::Phantom, 1)]);
    planted(
        plant(&["c"]),
        &[(Violation::Phantom, 1), (Violation::Reordered, 1)],
    );
    planted(plant(&["v-0", "v-1"]), &[(Violation::Phantom, 2)]);
    // A transaction whose Resolve failed may be there.
    planted(plant(&["u-0", "u-1"]), &[]);
}

#[test]
fn a_message_in_another_topic_is_a_phantom() {
    planted(
        |history, _| history.sends[1].topic = "stock".to_owned(),
        &[(Violation::Phantom, 1)],
    );
}

#[test]
fn a_delivery_of_what_is_not_there_is_a_phantom() {
    planted(
        |history, _| {
            if history.deliveries.len() == 9 {
                history.deliveries.push(delivery(8, "b", 10));
            }
        },
        // Of each replica that does not have it.
        &[(Violation::Phantom, 3)],
    );
}

#[test]
fn other_content_is_found() {
    planted(
        |history, replica| {
            messages(replica)[2].fingerprint = 1;
            history.deliveries[3].fingerprint = 1;
        },
        &[(Violation::Altered, 1)],
    );
}

#[test]
fn a_receipt_that_names_another_place_is_found() {
    planted(
        |history, _| history.sends[3].outcome = Outcome::Acknowledged(Some((0, 1))),
        &[(Violation::Misplaced, 1)],
    );
}

#[test]
fn order_of_a_producer_and_key_is_kept() {
    planted(
        |history, replica| {
            let ids = ["b", "a", "d", "e", "t-0", "t-1", "w-0", "w-1"];
            hold(history, replica, &ids);
            history.sends[0].outcome = Outcome::Acknowledged(None);
        },
        &[(Violation::Reordered, 1)],
    );
    let other = |history: &mut History, replica: &mut Replica, key: &str| {
        hold(history, replica, &["b", "a", "d", "e"]);
        history.sends[0].outcome = Outcome::Acknowledged(None);
        history.transactions.clear();
        if let Some(order) = &mut history.sends[0].order {
            order.key = key.to_owned();
        }
    };
    planted(
        |history, replica| other(history, replica, "k"),
        &[(Violation::Reordered, 1)],
    );
    planted(|history, replica| other(history, replica, "other"), &[]);
}

#[test]
fn a_key_stays_in_its_queue() {
    planted(
        |history, replica| {
            let ids = ["a", "b", "d", "t-0", "t-1", "w-0", "w-1"];
            hold(history, replica, &ids);
            let mut other = delivery(0, "e", 10);
            other.place = place(1, 0);
            history.deliveries.push(other);
            let queue = Queue {
                first_offset: 0,
                messages: vec![stored(0, "e")],
            };
            replica.queues.insert(name(1), queue);
        },
        &[(Violation::Reordered, 1)],
    );
}

#[test]
fn replicas_that_differ_are_found() {
    let (history, mut replicas) = run();
    messages(&mut replicas[2])[1].fingerprint = 9;
    assert_found(
        &history,
        &replicas,
        &[
            (Violation::Phantom, 1),
            (Violation::Altered, 1),
            (Violation::Diverged, 1),
        ],
    );

    let (history, mut replicas) = run();
    replicas[1].applied.insert(1, applied(7, 9));
    assert_found(&history, &replicas, &[(Violation::Diverged, 1)]);
    replicas[1].applied.insert(1, applied(6, 9));
    assert_found(&history, &replicas, &[]);
}

#[test]
fn a_hole_in_a_queue_is_found() {
    planted(
        |history, replica| {
            for stored in messages(replica).iter_mut().skip(5) {
                stored.offset += 1;
            }
            history.deliveries.truncate(6);
            history.drained.clear();
        },
        // On each replica.
        &[(Violation::Gap, 3)],
    );
}

#[test]
fn a_part_of_a_transaction_is_found() {
    planted(
        |history, replica| {
            let ids = ["a", "b", "d", "e", "t-0", "t-1", "w-0", "w-1", "u-1"];
            hold(history, replica, &ids);
        },
        &[(Violation::TornTransaction, 1)],
    );
    planted(
        |history, _| history.transactions[1].resolved = Resolve::Contradicted,
        &[(Violation::TornTransaction, 1)],
    );
}

#[test]
fn a_delivery_after_its_ack_is_found() {
    planted(
        |history, _| history.acks[0].confirmed_at_ms = 19,
        &[(Violation::AckedRedelivered, 1)],
    );
    planted(
        |history, _| {
            history.acks[0].confirmed_at_ms = 19;
            history.acks[0].group = "points".to_owned();
        },
        &[],
    );
}

#[test]
fn what_never_arrives_is_found() {
    planted(
        |history, _| history.deliveries.retain(|delivery| delivery.id != "d"),
        &[(Violation::Undelivered, 1)],
    );
}
