//! Two data groups that have messages for each other, whatever gets lost between them, comes
//! again or late, and whichever of them crashes.

use bytes::Bytes;
use outrigger_core::half_message::Verdict;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::Limits;
use super::Subject;
use crate::apply::Apply as _;
use crate::command::{
    Command, Destination, ForwardedMessage, NewMessage, Outcome, Refusal, TransactionId,
};

/// Messages that are delivered at once, in the order of the commits.
const INBOX: &str = "inbox";
/// Messages that are due later.
const LATER: &str = "later";
const LATER_MS: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// A data group gets a transaction; its messages are delayed or not.
    Prepare(usize, Vec<bool>),
    /// Some transaction gets a verdict, maybe not for the first time, and maybe another body.
    Resolve(Index, bool, bool),
    /// A data group sends what waits, after a number, but so many messages at most.
    Read(usize, u64, usize),
    /// Something that was sent arrives, maybe not for the first time.
    Arrive(Index),
    /// An answer gets back, maybe not for the first time.
    Answer(Index),
    Checkpoint(usize),
    Crash(usize),
    CrashInCheckpoint(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = || 0..2_usize;
    let step = prop_oneof![
        4 => (group(), vec(prop::bool::weighted(0.2), 1..4))
            .prop_map(|(group, delayed)| Step::Prepare(group, delayed)),
        5 => any::<(Index, bool, bool)>()
            .prop_map(|(at, commit, replaced)| Step::Resolve(at, commit, replaced)),
        5 => (group(), prop_oneof![3 => Just(0), 1 => 0..8_u64], 1..6_usize)
            .prop_map(|(group, after, max)| Step::Read(group, after, max)),
        6 => any::<Index>().prop_map(Step::Arrive),
        4 => any::<Index>().prop_map(Step::Answer),
        1 => group().prop_map(Step::Checkpoint),
        1 => group().prop_map(Step::Crash),
        1 => group().prop_map(Step::CrashInCheckpoint),
    ];
    vec(step, 1..80)
}

struct Transaction {
    group: usize,
    /// The bytes and whether they are delayed.
    messages: Vec<(Bytes, bool)>,
    verdict: Option<Verdict>,
}

struct World {
    groups: Vec<Option<Subject>>,
    now_ms: u64,
    transactions: Vec<Transaction>,
    /// By target, what is to be delivered there, in order, and later.
    expected: [(Vec<Bytes>, Vec<Bytes>); 2],
    /// To whom, and what; never forgotten.
    sent: Vec<(usize, Command)>,
    answers: Vec<(usize, Command)>,
}

fn other(group: usize) -> usize {
    1 - group
}

impl World {
    fn new() -> Self {
        let group = || Some(Subject::new(Limits::default()));
        Self {
            groups: vec![group(), group()],
            now_ms: 1,
            transactions: Vec::new(),
            expected: Default::default(),
            sent: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn group(&mut self, group: usize) -> &mut Subject {
        self.groups[group].as_mut().unwrap()
    }

    fn one(&mut self, group: usize, command: Command) -> Outcome {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        self.group(group).one(now_ms, command)
    }

    fn prepare(&mut self, group: usize, delayed: &[bool]) {
        let id = self.transactions.len();
        let messages: Vec<_> = delayed
            .iter()
            .enumerate()
            .map(|(at, delayed)| (Bytes::from(format!("message {at} of {id}")), *delayed))
            .collect();
        let message = |(stored, delayed): &(Bytes, bool)| NewMessage {
            destination: Destination::There {
                group: other(group) as u32,
                topic: if *delayed { LATER } else { INBOX }.into(),
            },
            key_hash: 0,
            tag_hash: 7,
            deliver_at_ms: if *delayed { LATER_MS } else { 0 },
            from_fence: false,
            stored: stored.clone(),
        };
        let prepare = Command::Prepare {
            id: TransactionId(id as u128),
            producer_group: "orders".to_owned(),
            fingerprint: 1,
            messages: messages.iter().map(message).collect(),
        };
        let prepared = self.one(group, prepare);
        assert_eq!(prepared, Outcome::Prepared { repeated: false });
        self.transactions.push(Transaction {
            group,
            messages,
            verdict: None,
        });
    }

    fn resolve(&mut self, id: usize, commit: bool, replaced: bool) {
        let verdict = if commit {
            Verdict::Commit
        } else {
            Verdict::Rollback
        };
        let body = Bytes::from(format!("another body of {id}"));
        let replaced = replaced && commit;
        let group = self.transactions[id].group;
        let resolve = Command::Resolve {
            id: TransactionId(id as u128),
            verdict,
            replacements: replaced.then(|| (0, body.clone())).into_iter().collect(),
        };
        let outcome = self.one(group, resolve);
        let transaction = &mut self.transactions[id];
        match transaction.verdict {
            None => assert_eq!(outcome, Outcome::Resolved { repeated: false }),
            Some(recorded) if recorded == verdict => {
                assert_eq!(outcome, Outcome::Resolved { repeated: true });
                return;
            }
            Some(_) => {
                assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                return;
            }
        }
        transaction.verdict = Some(verdict);
        if commit {
            let (inbox, later) = &mut self.expected[other(group)];
            for (at, (stored, delayed)) in transaction.messages.iter().enumerate() {
                let stored = if replaced && at == 0 { &body } else { stored };
                let expected = if *delayed { &mut *later } else { &mut *inbox };
                expected.push(stored.clone());
            }
        }
    }

    fn read(&mut self, source: usize, after: u64, max: usize) {
        let target = other(source);
        let subject = self.group(source);
        let shared = subject.state.shared();
        let waiting = shared.outgoing(target as u32, after, max);
        let Some(&(first, _)) = waiting.first() else {
            return;
        };
        let message = |(_, message): &(u64, super::super::OutgoingMessage)| ForwardedMessage {
            topic: message.topic.clone(),
            key_hash: message.key_hash,
            tag_hash: message.tag_hash,
            deliver_at_ms: message.deliver_at_ms,
            stored: subject.entries.at(message.place, message.length),
        };
        let forwarded = Command::Forwarded {
            source: source as u32,
            first,
            queues: 1,
            messages: waiting.iter().map(message).collect(),
        };
        self.sent.push((target, forwarded));
    }

    /// True when it follows what was there.
    fn arrive(&mut self, at: usize) -> bool {
        let (target, command) = self.sent[at].clone();
        let outcome = self.one(target, command);
        self.check(target);
        match outcome {
            Outcome::Forwarded { upto } => {
                let target = target as u32;
                let done = Command::ForwardDone { target, upto };
                self.answers.push((other(target as usize), done));
                true
            }
            Outcome::Refused(Refusal::ForwardGap { .. }) => false,
            outcome => panic!("{outcome:?}"),
        }
    }

    fn answer(&mut self, at: usize) {
        let (source, command) = self.answers[at].clone();
        assert_eq!(self.one(source, command), Outcome::Applied);
    }

    fn crash(&mut self, group: usize) {
        let subject = self.groups[group].take().unwrap();
        let digest = subject.digest();
        let subject = subject.crash();
        assert_eq!(subject.digest(), digest);
        self.groups[group] = Some(subject);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Prepare(group, delayed) => self.prepare(*group, delayed),
            Step::Resolve(at, commit, replaced) if !self.transactions.is_empty() => {
                self.resolve(at.index(self.transactions.len()), *commit, *replaced);
            }
            Step::Read(group, after, max) => self.read(*group, *after, *max),
            Step::Arrive(at) if !self.sent.is_empty() => {
                self.arrive(at.index(self.sent.len()));
            }
            Step::Answer(at) if !self.answers.is_empty() => {
                self.answer(at.index(self.answers.len()));
            }
            Step::Resolve(..) | Step::Arrive(_) | Step::Answer(_) => {}
            Step::Checkpoint(group) => self.group(*group).checkpoint(),
            Step::Crash(group) => self.crash(*group),
            Step::CrashInCheckpoint(group) => {
                let subject = self.group(*group);
                if let Some(checkpoint) = subject.state.begin_checkpoint() {
                    checkpoint.write_half().unwrap();
                }
                self.crash(*group);
            }
        }
    }

    fn visible(&mut self, group: usize, topic: &str) -> Vec<Bytes> {
        let subject = self.group(group);
        let topic = subject.state.shared().topic(topic);
        topic.map_or_else(Vec::new, |topic| subject.visible(topic.id).concat())
    }

    /// What is there is the beginning of what is to be there.
    fn check(&mut self, group: usize) {
        let visible = self.visible(group, INBOX);
        let (inbox, _) = &self.expected[group];
        assert!(inbox.starts_with(&visible), "{visible:?} of {inbox:?}");
        assert!(self.visible(group, LATER).is_empty());
    }

    /// From here on nothing goes wrong any more.
    fn finish(&mut self) {
        for source in 0..2 {
            while self.group(source).state.shared().counts().outgoing > 0 {
                self.read(source, 0, 3);
                assert!(self.arrive(self.sent.len() - 1), "something is missing");
                self.answer(self.answers.len() - 1);
            }
        }
        // And all that is still on its way arrives.
        for at in 0..self.sent.len() {
            self.arrive(at);
        }
        for at in 0..self.answers.len() {
            self.answer(at);
        }
        self.now_ms = LATER_MS;
        for group in 0..2 {
            let due = Command::Due { until_ms: LATER_MS };
            self.one(group, due);
            self.crash(group);
            let visible = self.visible(group, INBOX);
            assert_eq!(visible, self.expected[group].0);
            let mut visible = self.visible(group, LATER);
            let expected = &mut self.expected[group].1;
            expected.sort();
            visible.sort();
            assert_eq!(visible, *expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_committed_arrives_once_and_what_is_not_never_does(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}
