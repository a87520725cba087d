//! Limits are a part of the state.

use super::{Limits, Subject};
use crate::apply::Apply as _;
use crate::command::{Command, Outcome, Refusal, TopicId};

fn topic(name: &str) -> Command {
    Command::CreateTopic {
        name: name.to_owned(),
        queues: 1,
        durability: Default::default(),
    }
}

fn topics(topics_max: u32) -> Command {
    Command::SetLimits(Limits {
        topics_max,
        ..Limits::default()
    })
}

#[test]
fn what_was_taken_is_taken_again_although_the_limit_was_lowered_since() {
    let mut subject = Subject::new(Limits::default());
    let set = [
        topics(1),
        topic("a"),
        topic("b"),
        topics(2),
        topic("b"),
        topics(1),
    ];
    let taken = |id| Outcome::Topic(TopicId(id));
    assert_eq!(
        subject.submit(1, &set),
        [
            Outcome::Applied,
            taken(0),
            Outcome::Refused(Refusal::TooManyTopics { limit: 1 }),
            Outcome::Applied,
            taken(1),
            Outcome::Applied,
        ]
    );
    let digest = subject.digest();
    let mut subject = subject.crash();
    assert_eq!(subject.digest(), digest);
    let (_, file) = subject.checkpoint_with_floor().unwrap();
    let subject = subject.crash();
    for mut subject in [subject.newcomer(&file), subject] {
        assert_eq!(subject.digest(), digest);
        assert_eq!(subject.state.limits().topics_max, 1);
        let refused = Outcome::Refused(Refusal::TooManyTopics { limit: 1 });
        assert_eq!(subject.one(2, topic("c")), refused);
    }
}
