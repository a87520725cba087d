//! The rule by which a producer's operations are taken, against everything that can happen
//! between a client and several data groups.
//!
//! The client numbers its operations, sends them on a stream in order, and begins a new stream
//! with its first operation without an answer whenever it likes. Each stream has a router of
//! its own, which splits it by data group, opens a stream to each, and opens that one anew,
//! from the first operation without an answer, whenever it likes. No stream ever dies: what is
//! on its way may arrive much later, and single operations of it may be lost.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};

use super::super::producers::{Admission, Producers};
use super::Limits;
use crate::command::{ProducerSequence, Refusal};

const GROUPS: usize = 3;
const OPERATIONS: u64 = 24;
/// Operations that have no answer yet, at most.
const WINDOW: u64 = 10;

/// How a data group decides.
type Rule = fn(&mut Producers, &ProducerSequence) -> Admission;

fn by_the_rule(producers: &mut Producers, sequence: &ProducerSequence) -> Admission {
    producers.admit(sequence, 1, &Limits::default())
}

/// Takes whatever is new without a look at what comes before it.
fn whatever_is_new(producers: &mut Producers, sequence: &ProducerSequence) -> Admission {
    by_the_rule(
        producers,
        &ProducerSequence {
            after: 0,
            ..*sequence
        },
    )
}

/// Asks every operation to follow the one before it at the client, not at the data group.
fn only_without_gaps(producers: &mut Producers, sequence: &ProducerSequence) -> Admission {
    by_the_rule(producers, &ProducerSequence::dense(7, 1, sequence.sequence))
}

#[derive(Clone, Debug)]
enum Step {
    /// The client sends the next operations on its stream.
    Send(u64),
    /// The client gives its stream up and begins anew.
    NewStream,
    /// The client looks what was answered.
    Listen,
    /// Operations of some stream between a router and a data group arrive there.
    Arrive { stream: usize, count: usize },
    /// They arrive, but no answer gets back any more.
    ArriveUnanswered { stream: usize, count: usize },
    /// The next one of them is lost, those after it are not.
    Lose { stream: usize },
    /// A router opens its stream to a data group anew.
    Reopen { stream: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stream = || prop_oneof![2 => 0..6_usize, 1 => 0..1_000_usize];
    let step = prop_oneof![
        6 => (1..5_u64).prop_map(Step::Send),
        1 => Just(Step::NewStream),
        3 => Just(Step::Listen),
        8 => (stream(), 1..5_usize)
            .prop_map(|(stream, count)| Step::Arrive { stream, count }),
        2 => (stream(), 1..4_usize)
            .prop_map(|(stream, count)| Step::ArriveUnanswered { stream, count }),
        2 => stream().prop_map(|stream| Step::Lose { stream }),
        3 => stream().prop_map(|stream| Step::Reopen { stream }),
    ];
    vec(step, 1..120)
}

/// What a router sends to a data group for one stream of the client, in order.
#[derive(Default)]
struct Part {
    frames: Vec<ProducerSequence>,
    /// So many of them were answered to the router.
    answered: usize,
}

/// One stream between a router and a data group.
struct Upstream {
    /// Which stream of the client.
    stream: usize,
    group: usize,
    next: usize,
    /// Its answers get back to the router.
    answers: bool,
    /// One of its operations is missing at the data group.
    lossy: bool,
}

struct World {
    rule: Rule,
    homes: Vec<usize>,
    refused: Vec<bool>,
    groups: Vec<Producers>,
    stored: Vec<Vec<u64>>,
    streams: Vec<[Part; GROUPS]>,
    upstreams: Vec<Upstream>,
    /// The client has the answers up to this operation.
    answered: u64,
    /// The last operation on the client's stream.
    sent: u64,
}

impl World {
    fn new(rule: Rule, homes: Vec<usize>, refused: Vec<bool>) -> Self {
        let mut world = Self {
            rule,
            homes,
            refused,
            groups: (0..GROUPS).map(|_| Producers::default()).collect(),
            stored: vec![Vec::new(); GROUPS],
            streams: Vec::new(),
            upstreams: Vec::new(),
            answered: 0,
            sent: 0,
        };
        world.begin_stream();
        world
    }

    fn home(&self, operation: u64) -> usize {
        self.homes[operation as usize - 1]
    }

    fn begin_stream(&mut self) {
        self.streams.push(Default::default());
        self.sent = self.answered;
        let stream = self.streams.len() - 1;
        for group in 0..GROUPS {
            self.open(stream, group);
        }
    }

    fn open(&mut self, stream: usize, group: usize) {
        self.upstreams.push(Upstream {
            stream,
            group,
            next: self.streams[stream][group].answered,
            answers: true,
            lossy: false,
        });
    }

    fn send(&mut self) {
        if self.sent >= OPERATIONS.min(self.answered + WINDOW) {
            return;
        }
        self.sent += 1;
        let home = self.home(self.sent);
        let stream = self.streams.last_mut().unwrap();
        let before = stream[home].frames.last();
        let frame = ProducerSequence {
            producer: 7,
            epoch: 1,
            sequence: self.sent,
            after: before.map_or(0, |before| before.sequence),
        };
        stream[home].frames.push(frame);
    }

    /// The client hears its answers in the order of its operations.
    fn listen(&mut self) {
        let stream = self.streams.last().unwrap();
        let is_answered = |operation| {
            let part = &stream[self.home(operation)];
            let mut answered = part.frames[..part.answered].iter();
            answered.any(|frame| frame.sequence == operation)
        };
        let open = self.answered + 1..=self.sent;
        let heard = open.take_while(|operation| is_answered(*operation));
        self.answered += heard.count() as u64;
    }

    /// The next operation of a stream arrives at its data group.
    fn arrive(&mut self, at: usize) -> TestCaseResult {
        let upstream = &mut self.upstreams[at];
        let part = &mut self.streams[upstream.stream][upstream.group];
        let Some(frame) = part.frames.get(upstream.next) else {
            return Ok(());
        };
        upstream.next += 1;
        let operation = frame.sequence;
        let is_refused = self.refused[operation as usize - 1];
        let group = &mut self.groups[upstream.group];
        let stored = &mut self.stored[upstream.group];
        match (self.rule)(group, frame) {
            Admission::New if is_refused => group.refuse(frame),
            Admission::New => stored.push(operation),
            Admission::Duplicate => {
                prop_assert!(stored.contains(&operation), "{operation} is not stored");
            }
            Admission::Refused(Refusal::RefusedBefore { sequence }) => {
                prop_assert!(is_refused && sequence == operation);
            }
            Admission::Refused(refusal) => {
                prop_assert!(upstream.lossy, "nothing is missing: {refusal}");
                upstream.answers = false;
            }
        }
        if upstream.answers {
            part.answered = part.answered.max(upstream.next);
        }
        Ok(())
    }

    fn lose(&mut self, at: usize) {
        let upstream = &mut self.upstreams[at];
        let part = &self.streams[upstream.stream][upstream.group];
        if upstream.next < part.frames.len() {
            upstream.next += 1;
            upstream.answers = false;
            upstream.lossy = true;
        }
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        // The latest streams first: most happens there.
        let all = self.upstreams.len();
        let nth = |stream: usize| all - 1 - stream % all;
        match *step {
            Step::Send(count) => (0..count).for_each(|_| self.send()),
            Step::NewStream => self.begin_stream(),
            Step::Listen => self.listen(),
            Step::Arrive { stream, count } => {
                for _ in 0..count {
                    self.arrive(nth(stream))?;
                }
            }
            Step::ArriveUnanswered { stream, count } => {
                self.upstreams[nth(stream)].answers = false;
                for _ in 0..count {
                    self.arrive(nth(stream))?;
                }
            }
            Step::Lose { stream } => self.lose(nth(stream)),
            Step::Reopen { stream } => {
                let Upstream { stream, group, .. } = self.upstreams[nth(stream)];
                self.open(stream, group);
            }
        }
        self.check()
    }

    fn check(&self) -> TestCaseResult {
        for (stored, group) in self.stored.iter().zip(0..) {
            let in_order = stored.is_sorted_by(|a, b| a < b);
            prop_assert!(in_order, "data group {group} has {stored:?}");
        }
        for operation in 1..=self.answered {
            let stored = self.stored[self.home(operation)].contains(&operation);
            let refused = self.refused[operation as usize - 1];
            prop_assert!(stored != refused, "{operation} was answered");
        }
        Ok(())
    }

    /// From here on nothing goes wrong any more.
    fn finish(&mut self) -> TestCaseResult {
        while self.answered < OPERATIONS {
            let before = self.answered;
            self.begin_stream();
            for _ in 0..WINDOW {
                self.send();
            }
            for at in self.upstreams.len() - GROUPS..self.upstreams.len() {
                for _ in 0..WINDOW {
                    self.arrive(at)?;
                }
            }
            self.listen();
            self.check()?;
            prop_assert!(self.answered > before, "{before} is the last answer ever");
        }
        // And all that is still on its way arrives.
        for at in 0..self.upstreams.len() {
            for _ in 0..OPERATIONS {
                self.arrive(at)?;
            }
        }
        self.check()
    }
}

/// Tries random worlds.
fn run(rule: Rule, rng: TestRng) -> Result<(), TestError<impl std::fmt::Debug>> {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    };
    let homes = vec(0..GROUPS, OPERATIONS as usize);
    let refused = vec(prop::bool::weighted(0.1), OPERATIONS as usize);
    let worlds = (homes, refused, steps());
    TestRunner::new_with_rng(config, rng).run(&worlds, |(homes, refused, steps)| {
        let mut world = World::new(rule, homes, refused);
        for step in &steps {
            world.step(step)?;
        }
        world.finish()
    })
}

#[test]
fn every_operation_is_taken_once_whatever_streams_do() {
    let seed: [u8; 32] = rand::random();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    if let Err(error) = run(by_the_rule, rng) {
        panic!("seed {seed:?}: {error}");
    }
}

/// The checker must notice rules that are wrong before it can say that one is right.
#[test]
fn wrong_rules_are_noticed() {
    let noticed = |rule| {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        run(rule, rng).unwrap_err().to_string()
    };
    let lossy = noticed(whatever_is_new);
    assert!(lossy.contains("is not stored"), "{lossy}");
    let stuck = noticed(only_without_gaps);
    assert!(stuck.contains("nothing is missing"), "{stuck}");
}
