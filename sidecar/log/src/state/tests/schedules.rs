//! Random schedules of commands, duplicates, contradictions, checkpoints and crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::guard::{Input, Mode};
use outrigger_core::half_message::Verdict;
use outrigger_core::lease::Event;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Topic;
use super::fate::{Fate, Then, then};
use super::model::Model;
use super::{Limits, Subject};
use crate::apply::Expiry as _;
use crate::command::{
    Command, ConsumerGroupConfig, ConsumerGroupId, Destination, Durability, ForwardedMessage,
    NewMessage, Outcome, ProducerSequence, StartFrom, TopicId, TransactionId,
};

fn limits() -> Limits {
    Limits {
        unresolved_transactions_max: 5,
        delayed_messages_max: 3,
        outgoing_messages_max: 4,
        resolved_retention_ms: 700,
        ..Limits::default()
    }
}

/// A message; its bytes are made later, so that each is different.
fn message() -> impl Strategy<Value = NewMessage> {
    let delay = prop_oneof![2 => Just(0), 1 => 1_000..3_000_u64];
    let key = prop_oneof![2 => Just(0), 1 => 1..4_u64];
    let there = (1..3_u32).prop_map(|group| Destination::There {
        group,
        topic: format!("topic-{group}").into(),
    });
    let destination = prop_oneof![
        3 => (0..3_u32).prop_map(|topic| TopicId(topic).into()),
        1 => there,
    ];
    (destination, key, delay, prop::bool::weighted(0.15)).prop_map(
        |(destination, key_hash, deliver_at_ms, from_fence)| NewMessage {
            destination,
            key_hash,
            tag_hash: 7,
            deliver_at_ms,
            from_fence,
            stored: Bytes::new(),
        },
    )
}

fn sequence() -> impl Strategy<Value = ProducerSequence> {
    let after = prop_oneof![2 => Just(1), 1 => 1..5_u64];
    (0..2_u128, 1..3_u32, 1..6_u64, after).prop_map(|(producer, epoch, sequence, before)| {
        ProducerSequence {
            producer,
            epoch,
            sequence,
            after: sequence.saturating_sub(before),
        }
    })
}

fn forwarded() -> impl Strategy<Value = Command> {
    let message = (
        0..4_u32,
        0..4_u64,
        prop_oneof![2 => Just(0), 1 => 1_000..3_000_u64],
    );
    let message = message.prop_map(|(topic, key_hash, deliver_at_ms)| ForwardedMessage {
        topic: format!("topic-{topic}").into(),
        key_hash,
        tag_hash: 7,
        deliver_at_ms,
        stored: Bytes::new(),
    });
    let all = (1..3_u32, 1..5_u64, vec(message, 0..4));
    all.prop_map(|(source, first, messages)| Command::Forwarded {
        source,
        first,
        queues: 2,
        messages,
    })
}

fn guard_input() -> impl Strategy<Value = Input> {
    let token = || "[ab]";
    prop_oneof![
        token().prop_map(|token| Input::Acquire {
            mode: Mode::Record,
            token,
            fingerprint: Bytes::new(),
            lease_ms: 200,
        }),
        token().prop_map(|token| Input::Complete {
            token,
            result: Bytes::from_static(b"done"),
            ttl_ms: 300,
        }),
        token().prop_map(|token| Input::Release { token }),
        Just(Input::Increment { ttl_ms: 300 }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let id = || (1..9_u128).prop_map(TransactionId);
    let verdict = || prop_oneof![3 => Just(Verdict::Commit), 1 => Just(Verdict::Rollback)];
    let replacements = || vec((0..3_u32, Just(Bytes::new())), 0..3);
    let place = || (0..2_u32, 0..3_u32, 0..3_u32);
    prop_oneof![
        1 => (0..4_u32).prop_map(|topic| Command::CreateTopic {
            name: format!("topic-{topic}"),
            queues: topic % 3 + 1,
            durability: Durability::Replicated,
        }),
        1 => (0..4_u32, any::<bool>()).prop_map(|(topic, synced)| Command::SetTopicDurability {
            topic: TopicId(topic),
            durability: if synced { Durability::Synced } else { Durability::Accepted },
        }),
        1 => (0..2_u32).prop_map(|group| Command::CreateConsumerGroup {
            name: format!("group-{group}"),
            config: ConsumerGroupConfig {
                start_from: if group == 0 { StartFrom::First } else { StartFrom::Last },
                max_attempts: 16,
                retry_delays_ms: vec![10],
            },
        }),
        4 => (message(), proptest::option::of(sequence()))
            .prop_map(|(message, sequence)| Command::Send { message, sequence }),
        1 => sequence().prop_map(Command::SkipSequence),
        6 => (id(), 0..2_u128, vec(message(), 0..4)).prop_map(|(id, fingerprint, messages)| {
            Command::Prepare {
                id,
                producer_group: "orders".to_owned(),
                fingerprint,
                messages,
            }
        }),
        8 => (id(), verdict(), replacements()).prop_map(|(id, verdict, replacements)| {
            Command::Resolve {
                id,
                verdict,
                replacements,
            }
        }),
        2 => id().prop_map(|id| Command::Park { id }),
        1 => (id(), verdict(), replacements()).prop_map(|(id, verdict, replacements)| {
            Command::Decide {
                id,
                verdict,
                replacements,
                reason: "by hand".to_owned(),
            }
        }),
        1 => id().prop_map(|id| Command::Resume {
            id,
            reason: "again".to_owned(),
        }),
        2 => (place(), 0..8_u64, 0..3_u64, any::<bool>()).prop_map(
            |((group, topic, queue), first, more, retry)| Command::Progress {
                group: ConsumerGroupId(group),
                topic: TopicId(topic),
                queue,
                events: vec![if retry {
                    Event::Retry { offset: first, attempt: 2, visible_at_ms: 9 }
                } else {
                    Event::Acked { first, last: first + more }
                }],
            }
        ),
        2 => (place(), 0..6_u64).prop_map(|((_, topic, queue), offset)| Command::DeadLetter {
            group: ConsumerGroupId(0),
            topic: TopicId(topic),
            queue,
            offset,
        }),
        2 => ("[xy]", guard_input()).prop_map(|(key, input)| Command::Guard {
            scope: "scope".to_owned(),
            key: key.into(),
            input,
        }),
        1 => (0..4_000_u64).prop_map(|until_ms| Command::Due { until_ms }),
        2 => forwarded(),
        2 => (1..3_u32, 0..5_u64).prop_map(|(target, upto)| Command::ForwardDone { target, upto }),
        2 => (0..40_u64).prop_map(|upto| Command::Expire { upto }),
    ]
}

/// Gives every message bytes of its own.
fn number(commands: &mut [Command], next: &mut u32) {
    let mut stored = || {
        *next += 1;
        Bytes::from(format!("message {next}"))
    };
    for command in commands {
        match command {
            Command::Send { message, .. } => message.stored = stored(),
            Command::Prepare { messages, .. } => {
                messages.iter_mut().for_each(|one| one.stored = stored());
            }
            Command::Forwarded { messages, .. } => {
                messages.iter_mut().for_each(|one| one.stored = stored());
            }
            Command::Resolve { replacements, .. } | Command::Decide { replacements, .. } => {
                replacements.iter_mut().for_each(|(_, one)| *one = stored());
            }
            _ => {}
        }
    }
}

type Entry = (u64, Vec<Command>, Then);

fn schedule() -> impl Strategy<Value = Vec<Entry>> {
    let first = (
        Just(0),
        Just(vec![
            Command::CreateTopic {
                name: "topic-0".to_owned(),
                queues: 2,
                durability: Default::default(),
            },
            Command::CreateTopic {
                name: "topic-1".to_owned(),
                queues: 3,
                durability: Default::default(),
            },
            Command::CreateConsumerGroup {
                name: "group-0".to_owned(),
                config: ConsumerGroupConfig {
                    start_from: StartFrom::First,
                    max_attempts: 16,
                    retry_delays_ms: vec![10],
                },
            },
        ]),
        then(),
    );
    let more = vec((0..250_u64, vec(command(), 1..6), then()), 1..40);
    (first, more).prop_map(|(first, more)| {
        let mut next = 0;
        let mut all = vec![first];
        all.extend(more);
        for (_, commands, _) in &mut all {
            // Alone, so that it is known what has expired before each command.
            let expire = |command: &Command| matches!(command, Command::Expire { .. });
            if let Some(expire) = commands.iter().position(expire) {
                *commands = vec![commands.swap_remove(expire)];
            }
            number(commands, &mut next);
        }
        all
    })
}

/// Every message is visible exactly once if it is to be, and messages of one queue are in
/// the order in which they became visible. Only what has expired, or became visible before
/// something that has, may be missing, and nothing is there whose bytes have expired.
fn check_visible(subject: &Subject, model: &Model) {
    for topic in 0..4 {
        let Some(name) = subject.state.shared().topic_by_id(TopicId(topic)) else {
            continue;
        };
        if name.name.starts_with('%') {
            continue;
        }
        let expected = model.visible.get(&topic).cloned().unwrap_or_default();
        let order: BTreeMap<_, _> = expected.iter().cloned().zip(0..).collect();
        let floor = subject.state.shared().floor();
        let expired = |stored: &Bytes| model.bodies[stored] <= floor;
        let kept_from = expected
            .iter()
            .rposition(expired)
            .map_or(0, |last| last + 1);
        let queues = subject.visible(TopicId(topic));
        let mut count = 0;
        for queue in queues {
            let places: Vec<_> = queue.iter().map(|one| order.get(one)).collect();
            assert!(places.iter().all(Option::is_some), "phantom: {queue:?}");
            assert!(places.is_sorted_by(|a, b| a < b), "disorder: {queue:?}");
            assert!(!queue.iter().any(expired), "bytes are gone: {queue:?}");
            let kept = |place: &&Option<&usize>| place.is_some_and(|place| *place >= kept_from);
            count += places.iter().filter(kept).count();
        }
        let kept = expected.len() - kept_from;
        assert_eq!(count, kept, "lost in {}", name.name);
    }
}

fn first_offsets(subject: &Subject) -> BTreeMap<(TopicId, u32), u64> {
    let shared = subject.state.shared();
    let queues = |topic: &Topic| (0..topic.queues).map(|queue| (topic.id, queue)).collect();
    let topics = shared.topics();
    let all = topics.iter().flat_map(|topic| -> Vec<_> { queues(topic) });
    all.map(|queue| (queue, shared.queue_bounds(queue.0, queue.1).unwrap().0))
        .collect()
}

/// What waits for another data group does so with its number, its bytes and its destination.
fn check_outgoing(subject: &Subject, model: &Model) {
    let shared = subject.state.shared();
    let waiting = model
        .outgoing
        .iter()
        .filter(|(_, waiting)| !waiting.is_empty());
    let targets: Vec<_> = waiting.map(|(target, _)| *target).collect();
    assert_eq!(shared.outgoing_targets(), targets);
    for (target, expected) in &model.outgoing {
        let outgoing = shared.outgoing(*target, 0, usize::MAX);
        assert_eq!(outgoing.len(), expected.len(), "for {target}");
        for ((number, message), (expected_number, expected)) in outgoing.iter().zip(expected) {
            assert_eq!(number, expected_number, "for {target}");
            let topic = Arc::clone(&message.topic);
            let destination = Destination::There {
                group: *target,
                topic,
            };
            assert_eq!(destination, expected.destination);
            assert_eq!(message.key_hash, expected.key_hash);
            assert_eq!(message.tag_hash, expected.tag_hash);
            assert_eq!(message.deliver_at_ms, expected.deliver_at_ms);
            let bytes = subject.entries.at(message.place, message.length);
            assert_eq!(bytes, expected.stored);
        }
    }
}

fn run(schedule: Vec<Entry>) {
    let mut subject = Subject::new(limits());
    let mut untouched = Subject::new(limits());
    let mut model = Model::new(&limits());
    let mut fate = Fate::default();
    let mut now_ms = 1_000;
    for (later_ms, commands, then) in schedule {
        now_ms += later_ms;
        model.first_offsets = first_offsets(&subject);
        let outcomes = subject.submit(now_ms, &commands);
        assert_eq!(untouched.submit(now_ms, &commands), outcomes);
        model.note(subject.entries.bodies.len() as u64 - 1, &commands);
        let floor = subject.state.shared().floor();
        for (command, outcome) in commands.iter().zip(&outcomes) {
            model.check(now_ms, command, outcome);
        }
        let needed = model.oldest_needed();
        assert!(needed.is_none_or(|oldest| floor < oldest || floor == 0));
        subject = fate.befall(subject, then);
    }
    check_visible(&subject, &model);
    check_outgoing(&subject, &model);
    assert_eq!(subject.digest(), untouched.digest());
    let floor = subject.state.shared().floor();
    for (index, file) in fate.floors.iter().filter(|(index, _)| *index <= floor) {
        let newcomer = subject.newcomer(file);
        assert_eq!(newcomer.digest(), untouched.digest(), "from entry {index}");
        check_visible(&newcomer, &model);
        check_outgoing(&newcomer, &model);
    }
    let shared = subject.state.shared();
    assert_eq!(shared.counts().unresolved, model.unresolved() as u64);
    let unresolved = shared.unresolved(0, u64::MAX, usize::MAX);
    assert!(unresolved.is_sorted_by_key(|(_, one)| one.sequence));
    assert_eq!(unresolved.len(), model.unresolved());
    if let Some(dead) = shared.topic("%DLQ%group-0") {
        let sent = model.visible.get(&dead.id.0).map_or(0, Vec::len);
        let expected = sent + model.dead_letters(ConsumerGroupId(0));
        assert_eq!(
            subject.visible(dead.id).concat().len(),
            expected,
            "dead letters"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_state_keeps_its_promises_whatever_crashes(schedule in schedule()) {
        run(schedule);
    }
}

/// The checker must know what a duplicate is before it can say that there is none.
#[test]
fn a_commit_that_is_repeated_delivers_once_even_from_disk() {
    let mut subject = Subject::new(Limits::default());
    subject.one(
        1,
        Command::CreateTopic {
            name: "orders".to_owned(),
            queues: 4,
            durability: Default::default(),
        },
    );
    let message = NewMessage {
        destination: TopicId(0).into(),
        key_hash: 0,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from_static(b"order 17"),
    };
    let prepare = Command::Prepare {
        id: TransactionId(7),
        producer_group: "orders".to_owned(),
        fingerprint: 1,
        messages: vec![message; 3],
    };
    let resolve = |verdict| Command::Resolve {
        id: TransactionId(7),
        verdict,
        replacements: Vec::new(),
    };
    let commit = resolve(Verdict::Commit);
    assert_eq!(
        subject.one(2, prepare.clone()),
        Outcome::Prepared { repeated: false }
    );
    assert!(subject.visible(TopicId(0)).concat().is_empty());
    assert_eq!(
        subject.one(3, commit.clone()),
        Outcome::Resolved { repeated: false }
    );
    for crashes in 0..3 {
        assert_eq!(
            subject.one(4, commit.clone()),
            Outcome::Resolved { repeated: true }
        );
        assert_eq!(
            subject.one(5, prepare.clone()),
            Outcome::Prepared { repeated: true }
        );
        let refused = subject.one(6, resolve(Verdict::Rollback));
        assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
        assert_eq!(
            subject.visible(TopicId(0)).concat().len(),
            3,
            "after {crashes}"
        );
        subject.checkpoint();
        subject = subject.crash();
    }
}
