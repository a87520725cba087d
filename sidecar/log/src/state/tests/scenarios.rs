//! Promises with a story each.

use bytes::Bytes;
use outrigger_core::half_message::{State as Recorded, Verdict};
use outrigger_core::lease::Event;

use super::super::producers::Producers;
use super::super::{AuditAction, State, StateError};
use super::{Limits, Subject};
use crate::apply::Apply as _;
use crate::command::{
    Command, ConsumerGroupConfig, ConsumerGroupId, Durability, NewMessage, Outcome,
    ProducerSequence, Refusal, StartFrom, TopicId, TransactionId,
};
use crate::derived::{Changes, DerivedError, Store, Table};
use crate::queue_index::IndexError;

fn message(key_hash: u64, deliver_at_ms: u64, stored: &str) -> NewMessage {
    NewMessage {
        destination: TopicId(0).into(),
        key_hash,
        tag_hash: 0,
        deliver_at_ms,
        from_fence: false,
        stored: Bytes::copy_from_slice(stored.as_bytes()),
    }
}

fn send(message: NewMessage) -> Command {
    Command::Send {
        message,
        sequence: None,
    }
}

fn group(name: &str, start_from: StartFrom) -> Command {
    Command::CreateConsumerGroup {
        name: name.to_owned(),
        config: ConsumerGroupConfig {
            start_from,
            max_attempts: 3,
            retry_delays_ms: vec![10, 20],
        },
    }
}

/// A state with the topic `orders`.
fn subject(queues: u32) -> Subject {
    let mut subject = Subject::new(Limits::default());
    let name = "orders".to_owned();
    subject.one(
        1,
        Command::CreateTopic {
            name,
            queues,
            durability: Default::default(),
        },
    );
    subject
}

#[test]
fn messages_of_one_entry_stay_together_and_keys_keep_their_queue() {
    let mut subject = subject(4);
    for entry in 0..8 {
        let stored = format!("entry {entry}");
        subject.submit(2, &vec![send(message(0, 0, &stored)); 5]);
        subject.submit(
            2,
            &[send(message(6, 0, "key")), send(message(11, 0, "key"))],
        );
    }
    let queues = subject.visible(TopicId(0));
    for queue in &queues {
        let whole = queue.iter().filter(|one| one.starts_with(b"entry"));
        assert_eq!(whole.count(), 2 * 5, "{queues:?}");
    }
    let keyed = |queue: &Vec<Bytes>| queue.iter().filter(|one| one.starts_with(b"key")).count();
    let keyed: Vec<_> = queues.iter().map(keyed).collect();
    assert_eq!(keyed, [0, 0, 8, 8]);
}

#[test]
fn delayed_messages_become_visible_in_the_order_in_which_they_are_due() {
    let mut subject = subject(1);
    for (due_ms, stored) in [(30, "third"), (10, "first"), (10, "second"), (5, "at once")] {
        subject.one(5, send(message(0, due_ms, stored)));
    }
    assert_eq!(subject.visible(TopicId(0)), [vec!["at once"]]);
    assert_eq!(subject.state.next_due_ms(), Some(10));
    subject.checkpoint();
    subject = subject.crash();
    subject.one(20, Command::Due { until_ms: 20 });
    assert_eq!(
        subject.visible(TopicId(0)),
        [vec!["at once", "first", "second"]]
    );
    subject.checkpoint();
    subject = subject.crash();
    assert_eq!(subject.state.next_due_ms(), Some(30));
    subject.one(40, Command::Due { until_ms: 40 });
    assert_eq!(subject.visible(TopicId(0))[0].last().unwrap(), "third");
    assert_eq!(subject.state.next_due_ms(), None);
}

#[test]
fn a_decision_by_hand_is_kept_with_its_reason() {
    let mut subject = subject(1);
    let id = TransactionId(9);
    let prepare = Command::Prepare {
        id,
        producer_group: "orders".to_owned(),
        fingerprint: 3,
        messages: vec![NewMessage {
            from_fence: true,
            ..message(0, 0, "")
        }],
    };
    subject.one(2, prepare);
    subject.one(3, Command::Park { id });
    let shared = subject.state.shared();
    assert_eq!(shared.counts().parked, 1);
    let reason = "database is back".to_owned();
    subject.one(4, Command::Resume { id, reason });
    subject.one(5, Command::Park { id });
    let decide = |replacements| Command::Decide {
        id,
        verdict: Verdict::Commit,
        replacements,
        reason: "customer called".to_owned(),
    };
    let refused = subject.one(6, decide(Vec::new()));
    let missing = Refusal::PayloadMissing { id, message: 0 };
    assert_eq!(refused, Outcome::Refused(missing));
    let body = Bytes::from_static(b"from the fence");
    let decided = subject.one(7, decide(vec![(0, body.clone())]));
    assert_eq!(decided, Outcome::Resolved { repeated: false });
    drop(shared);
    subject.checkpoint();
    let subject = subject.crash();
    assert_eq!(subject.visible(TopicId(0)), [vec![body]]);
    let found = subject.state.shared().transaction(id).unwrap().unwrap();
    assert_eq!(found.state, Recorded::Committed);
    assert_eq!((found.prepared_at_ms, found.resolved_at_ms), (2, Some(7)));
    let audit: Vec<_> = found
        .audit
        .iter()
        .map(|one| (one.at_ms, one.action))
        .collect();
    let decided = AuditAction::Decided(Verdict::Commit);
    assert_eq!(audit, [(4, AuditAction::Resumed), (7, decided)]);
    assert_eq!(found.audit[1].reason, "customer called");
}

/// The verdicts of a checkpoint may reach the disk although the checkpoint does not.
#[test]
fn a_verdict_from_an_unfinished_checkpoint_does_not_stop_its_own_delivery() {
    let mut subject = subject(1);
    for (id, body) in [(9, "finished"), (5, "unfinished")] {
        let id = TransactionId(id);
        let prepare = Command::Prepare {
            id,
            producer_group: "orders".to_owned(),
            fingerprint: 3,
            messages: vec![message(0, 0, body)],
        };
        subject.one(2, prepare);
        let commit = Command::Resolve {
            id,
            verdict: Verdict::Commit,
            replacements: Vec::new(),
        };
        subject.one(3, commit);
        if body == "finished" {
            subject.checkpoint();
        }
    }
    let unfinished = subject.state.begin_checkpoint().unwrap();
    unfinished.write_half().unwrap();
    let subject = subject.crash();
    assert_eq!(
        subject.visible(TopicId(0)),
        [vec!["finished", "unfinished"]]
    );
}

#[test]
fn a_group_starts_where_it_was_told_to_whenever_it_begins() {
    let mut subject = subject(1);
    subject.submit(2, &vec![send(message(0, 0, "before")); 3]);
    subject.one(3, group("first", StartFrom::First));
    subject.one(3, group("last", StartFrom::Last));
    subject.submit(4, &vec![send(message(0, 0, "after")); 2]);
    let name = "later".to_owned();
    subject.one(
        5,
        Command::CreateTopic {
            name,
            queues: 1,
            durability: Default::default(),
        },
    );
    subject.checkpoint();
    let subject = subject.crash();
    let shared = subject.state.shared();
    let floor = |group, topic| {
        let progress = shared.progress(ConsumerGroupId(group), TopicId(topic), 0);
        progress.floor()
    };
    assert_eq!((floor(0, 0), floor(1, 0)), (0, 3));
    assert_eq!((floor(0, 1), floor(1, 1)), (0, 0));
}

#[test]
fn a_topic_keeps_the_durability_that_it_was_made_with_or_given_later() {
    let mut subject = subject(1);
    let create = |durability| Command::CreateTopic {
        name: "metrics".to_owned(),
        queues: 1,
        durability,
    };
    subject.one(2, create(Durability::Accepted));
    // A topic that exists stays as it is.
    subject.one(2, create(Durability::Synced));
    let durability = |subject: &Subject| {
        let shared = subject.state.shared();
        let of = |name| shared.topic(name).unwrap().durability();
        (of("orders"), of("metrics"))
    };
    let made = (Durability::Synced, Durability::Accepted);
    assert_eq!(durability(&subject), made);
    subject.checkpoint();
    let change = |topic| Command::SetTopicDurability {
        topic: TopicId(topic),
        durability: Durability::Replicated,
    };
    assert_eq!(subject.one(3, change(0)), Outcome::Topic(TopicId(0)));
    let unknown = Outcome::Refused(Refusal::UnknownTopic(TopicId(2)));
    assert_eq!(subject.one(3, change(2)), unknown);
    let changed = (Durability::Replicated, Durability::Accepted);
    assert_eq!(durability(&subject), changed);
    let mut subject = subject.crash();
    assert_eq!(durability(&subject), changed);
    subject.checkpoint();
    assert_eq!(durability(&subject.crash()), changed);
}

#[test]
fn a_dead_letter_points_to_the_same_bytes_and_counts_as_done() {
    let mut subject = subject(1);
    subject.one(2, group("stock", StartFrom::First));
    subject.submit(
        2,
        &[send(message(0, 0, "good")), send(message(0, 0, "bad"))],
    );
    let dead = Command::DeadLetter {
        group: ConsumerGroupId(0),
        topic: TopicId(0),
        queue: 0,
        offset: 1,
    };
    for _ in 0..2 {
        assert_eq!(subject.one(3, dead.clone()), Outcome::Applied);
        subject.checkpoint();
        subject = subject.crash();
    }
    let shared = subject.state.shared();
    let topic = shared.topic("%DLQ%stock").unwrap();
    assert_eq!(subject.visible(topic.id), [vec!["bad"]]);
    let progress = shared.progress(ConsumerGroupId(0), TopicId(0), 0);
    assert!(progress.is_acked(1) && !progress.is_acked(0));
    let ahead = Command::Progress {
        group: ConsumerGroupId(0),
        topic: TopicId(0),
        queue: 0,
        events: vec![Event::Acked {
            first: 0,
            last: u64::MAX,
        }],
    };
    let refused = subject.one(4, ahead);
    assert!(matches!(
        refused,
        Outcome::Refused(Refusal::UnknownOffset { .. })
    ));
}

#[test]
fn whoever_watches_a_topic_is_woken_when_messages_are_visible() {
    let mut subject = subject(2);
    let shared = subject.state.shared();
    let mut watch = shared.watch_topic(TopicId(0)).unwrap();
    watch.mark_unchanged();
    subject.one(2, group("stock", StartFrom::First));
    assert!(!watch.has_changed().unwrap());
    subject.one(2, send(message(0, 9, "later")));
    assert!(!watch.has_changed().unwrap());
    subject.one(9, Command::Due { until_ms: 9 });
    assert!(watch.has_changed().unwrap());
}

#[test]
fn idle_producers_are_forgotten_and_busy_ones_are_not() {
    let limits = Limits {
        producers_max: 2,
        producer_idle_ms: 60 * 60_000,
        ..Limits::default()
    };
    let mut producers = Producers::default();
    let mut admit = |producer: u128, sequence: u64, stamp_ms: u64| {
        producers.expire(stamp_ms, &limits);
        let sequence = ProducerSequence::dense(producer, 1, sequence);
        format!("{:?}", producers.admit(&sequence, stamp_ms, &limits))
    };
    let minute = 60_000;
    assert_eq!(admit(1, 1, minute), "New");
    assert_eq!(admit(2, 1, 2 * minute), "New");
    assert!(admit(3, 1, 3 * minute).contains("TooManyProducers"));
    assert_eq!(admit(2, 1, 20 * minute), "Duplicate");
    assert_eq!(admit(3, 1, 20 * minute), "New");
    assert!(admit(1, 1, 30 * minute).contains("TooManyProducers"));
    assert_eq!(admit(3, 1, 70 * minute), "Duplicate");
    assert_eq!(admit(2, 2, 80 * minute), "New");
    let forgotten = admit(3, 2, 132 * minute);
    assert!(forgotten.contains("SequenceGap"), "{forgotten}");
    assert_eq!(admit(2, 3, 132 * minute), "New");
}

#[test]
fn what_was_refused_is_not_a_duplicate_when_it_is_repeated() {
    let mut subject = subject(1);
    let numbered = |sequence, message| Command::Send {
        message,
        sequence: Some(numbered(sequence)),
    };
    let nowhere = NewMessage {
        destination: TopicId(1).into(),
        ..message(0, 0, "nowhere")
    };
    subject.one(2, numbered(1, message(0, 0, "stored")));
    let refused = subject.one(2, numbered(2, nowhere.clone()));
    assert_eq!(refused, Outcome::Refused(Refusal::UnknownTopic(TopicId(1))));
    let skipped = subject.one(2, Command::SkipSequence(self::numbered(3)));
    assert_eq!(skipped, Outcome::Applied);
    subject.one(2, numbered(4, message(0, 0, "behind")));

    // The answers were lost, and in the meantime there is such a topic.
    let (name, queues) = ("late".to_owned(), 1);
    subject.one(
        3,
        Command::CreateTopic {
            name,
            queues,
            durability: Default::default(),
        },
    );
    let repeated = [
        numbered(1, message(0, 0, "stored")),
        numbered(2, nowhere.clone()),
        numbered(3, nowhere),
        numbered(4, message(0, 0, "behind")),
    ];
    let refused = |sequence| Outcome::Refused(Refusal::RefusedBefore { sequence });
    let expected = [
        Outcome::Duplicate,
        refused(2),
        refused(3),
        Outcome::Duplicate,
    ];
    assert_eq!(subject.submit(4, &repeated), expected);
    subject.checkpoint();
    let mut subject = subject.crash();
    assert_eq!(subject.submit(4, &repeated), expected);
    assert_eq!(subject.visible(TopicId(0)), [vec!["stored", "behind"]]);
}

fn numbered(sequence: u64) -> ProducerSequence {
    ProducerSequence::dense(7, 1, sequence)
}

#[test]
fn damaged_derived_state_is_made_again_and_newer_state_is_refused() {
    let mut subject = subject(2);
    subject.submit(2, &vec![send(message(0, 0, "kept")); 100]);
    subject.checkpoint();
    let before = subject.digest();
    for file in std::fs::read_dir(subject.path().join("index")).unwrap() {
        let file = std::fs::File::options()
            .write(true)
            .open(file.unwrap().path());
        file.unwrap().set_len(32).unwrap();
    }
    let mut subject = subject.crash();
    assert_eq!(subject.digest(), before);
    assert!(subject.path().with_extension("discarded").exists());
    subject.checkpoint();

    let Subject {
        state,
        limits,
        directory,
        ..
    } = subject;
    drop(state);
    let path = directory.path().join("derived");
    let store = Store::open(&path.join("store")).unwrap();
    store.commit(Changes::newer_format(), 1).unwrap();
    drop(store);
    let refused = State::beginning_with(&path, limits);
    assert!(matches!(
        refused.err(),
        Some(StateError::Derived(DerivedError::NewerFormat {
            found,
            newest,
        })) if found == newest + 1
    ));
}

#[test]
fn derived_state_of_an_older_format_is_made_again() {
    let mut subject = subject(2);
    subject.submit(2, &vec![send(message(0, 0, "kept")); 100]);
    subject.checkpoint();
    let before = subject.digest();
    let store = subject.state.shared().store();
    store.commit(Changes::older_format(), 1).unwrap();
    drop(store);
    let mut subject = subject.crash();
    assert_eq!(subject.digest(), before);
    assert!(subject.path().with_extension("discarded").exists());
    subject.checkpoint();
    let subject = subject.crash();
    assert_eq!(subject.digest(), before);
}

#[test]
fn a_damaged_place_in_a_queue_is_never_served() {
    let mut subject = subject(1);
    subject.submit(2, &vec![send(message(0, 0, "kept")); 100]);
    subject.checkpoint();
    let before = subject.digest();
    let file = subject.path().join("index/0000000000-0000-00000000.index");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[7 * 40 + 9] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let shared = subject.state.shared();
    let read = |from, max| {
        let mut found = Vec::new();
        shared.index(TopicId(0), 0, from, max, &mut found)?;
        Ok::<_, IndexError>(found.len())
    };
    assert_eq!(read(0, 7).unwrap(), 7);
    assert_eq!(read(8, 100).unwrap(), 92);
    assert!(!subject.state.is_damaged());
    let damaged = read(0, 100).unwrap_err();
    assert!(
        matches!(damaged, IndexError::Damaged { offset: 7, .. }),
        "{damaged}"
    );
    assert!(subject.state.is_damaged());
    drop(shared);
    let subject = subject.crash();
    assert!(!subject.state.is_damaged());
    assert_eq!(subject.digest(), before);
    assert_eq!(subject.visible(TopicId(0)), [vec!["kept"; 100]]);
}

#[test]
fn expired_records_leave_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let hour_ms = 60 * 60 * 1_000_u64;
    for (table, keys) in [(Table::Resolved, 0..2_000_u32), (Table::Delayed, 0..10)] {
        let mut changes = Changes::default();
        for key in keys {
            let expires_at_ms = u64::from(key) * hour_ms;
            let record = expires_at_ms.to_le_bytes().to_vec();
            match table {
                Table::Resolved => changes.put_verdict(&key.to_be_bytes(), record),
                _ => changes.put(table, &key.to_be_bytes(), record),
            }
        }
        store.commit(changes, 0).unwrap();
    }
    store.commit(Changes::default(), 1_001 * hour_ms).unwrap();
    store.compact().unwrap();
    let count = |table| {
        let mut count = 0;
        store
            .scan(table, |_, _| {
                count += 1;
                Ok(())
            })
            .unwrap();
        count
    };
    assert_eq!((count(Table::Resolved), count(Table::Delayed)), (999, 10));
}
