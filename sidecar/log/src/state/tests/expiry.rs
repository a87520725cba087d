//! What may go before its time.

use bytes::Bytes;
use outrigger_core::lease::Event;

use super::{Limits, Subject};
use crate::apply::Apply as _;
use crate::command::{
    Command, ConsumerGroupConfig, ConsumerGroupId, NewMessage, Outcome, StartFrom, TopicId,
};

const QUEUES: u32 = 2;

fn group(name: &str) -> Command {
    Command::CreateConsumerGroup {
        name: name.to_owned(),
        config: ConsumerGroupConfig {
            start_from: StartFrom::First,
            max_attempts: 3,
            retry_delays_ms: vec![10],
        },
    }
}

fn send(key_hash: u64) -> Command {
    let message = NewMessage {
        destination: TopicId(0).into(),
        key_hash,
        tag_hash: 0,
        deliver_at_ms: 0,
        from_fence: false,
        stored: Bytes::from_static(b"stored"),
    };
    Command::Send {
        message,
        sequence: None,
    }
}

fn acknowledged(group: u32, queue: u32, last: u64) -> Command {
    Command::Progress {
        group: ConsumerGroupId(group),
        topic: TopicId(0),
        queue,
        events: vec![Event::Acked { first: 0, last }],
    }
}

#[test]
fn what_a_group_has_not_begun_to_read_does_not_go_before_its_time() {
    let mut subject = Subject::new(Limits::default());
    let topic = Command::CreateTopic {
        name: "orders".to_owned(),
        queues: QUEUES,
        durability: Default::default(),
    };
    // Entry 0 makes it all; the messages are entries 1 to 4, first of one queue, then of the other.
    subject.submit(1, &[topic, group("shipping"), group("billing")]);
    for key_hash in [2, 2, 1, 1] {
        subject.one(1, send(key_hash));
    }
    let consumed = |subject: &Subject| subject.state.expiry().expirable_consumed(4).unwrap();
    let acknowledge = |subject: &mut Subject, group, queue, last| {
        let outcome = subject.one(2, acknowledged(group, queue, last));
        assert_eq!(outcome, Outcome::Applied);
        consumed(subject)
    };
    assert_eq!(consumed(&subject), 0, "nobody has read anything");
    assert_eq!(acknowledge(&mut subject, 0, 0, 1), 0);
    assert_eq!(acknowledge(&mut subject, 0, 1, 1), 0, "one group of two");
    assert_eq!(acknowledge(&mut subject, 1, 0, 0), 1);
    assert_eq!(acknowledge(&mut subject, 1, 0, 1), 2, "one queue of two");
    assert_eq!(acknowledge(&mut subject, 1, 1, 0), 3);
    assert_eq!(acknowledge(&mut subject, 1, 1, 1), 4);
    // A group that is new may want to read all of it.
    subject.one(3, group("audit"));
    assert_eq!(consumed(&subject), 0);
}
