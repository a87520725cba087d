//! When submissions of one entry are answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;

use super::early::{Aftermath, REPLICATED_SYNC_MS_MAX, Received};
use super::pending::Answer;
use super::{Batcher, Clock, Limits, Pending, Propose, SubmitError, WallClock};
use crate::command::{Command, Durability, NewMessage, Outcome, Refusal, TopicId, TransactionId};

type Done = Box<dyn FnOnce(Answer) + Send>;
type Entry = (Option<Arc<Received>>, Done);

/// Entries end when the test says so.
#[derive(Clone, Default)]
struct Proposed(Arc<Mutex<Vec<Entry>>>);

impl Propose for Proposed {
    fn propose(
        &self,
        _: Bytes,
        received: Option<Arc<Received>>,
        done: impl FnOnce(Answer) + Send + 'static,
    ) {
        self.0.lock().unwrap().push((received, Box::new(done)));
    }

    fn refusal(&self, _commands: &[Command]) -> Option<SubmitError> {
        None
    }
}

impl Proposed {
    fn oldest(&self) -> Entry {
        self.0.lock().unwrap().remove(0)
    }
}

struct Subject {
    batcher: Arc<Batcher<Proposed>>,
    proposed: Proposed,
    aftermath: Arc<Aftermath>,
}

impl Subject {
    fn new() -> Self {
        let limits = Limits {
            in_flight_bytes_max: 1 << 20,
            entry_bytes_max: 1 << 16,
            entry_bytes_target: 1 << 14,
        };
        let proposed = Proposed::default();
        let clock = Clock::not_before(WallClock::default(), 0);
        Self {
            batcher: Batcher::new(limits, clock, proposed.clone()),
            proposed,
            aftermath: Arc::default(),
        }
    }

    fn submit(&self, durability: Durability, commands: usize) -> Pending {
        let commands = vec![send(); commands];
        let submitted = self
            .batcher
            .submit_at(commands, durability, &self.aftermath);
        submitted.unwrap()
    }

    /// Submissions of all levels that share one entry: an earlier one keeps them waiting.
    fn together(&self) -> [Pending; 3] {
        let levels = [
            Durability::Replicated,
            Durability::Synced,
            Durability::Accepted,
        ];
        let first = self.submit(Durability::Synced, 1);
        let pending = levels.map(|level| self.submit(level, 2));
        let running = tokio::spawn(Arc::clone(&self.batcher).run());
        drop((first, running));
        pending
    }
}

fn send() -> Command {
    Command::Send {
        message: NewMessage {
            destination: TopicId(0).into(),
            key_hash: 0,
            tag_hash: 0,
            deliver_at_ms: 0,
            from_fence: false,
            stored: Bytes::from_static(b"body"),
        },
        sequence: None,
    }
}

fn sent(offsets: std::ops::Range<u64>) -> Vec<Outcome> {
    let sent = |offset| Outcome::Sent { queue: 0, offset };
    offsets.map(sent).collect()
}

fn answer(pending: &mut Pending) -> Option<Answer> {
    pending.now_or_never()
}

async fn second_entry(subject: &Subject) -> Entry {
    let (received, done) = subject.proposed.oldest();
    assert!(received.is_none(), "nobody asked for it");
    done(Ok(sent(0..1)));
    while subject.proposed.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    subject.proposed.oldest()
}

#[tokio::test]
async fn submissions_of_one_entry_are_answered_at_their_own_levels() {
    let subject = Subject::new();
    let [mut replicated, mut synced, mut accepted] = subject.together();
    assert_eq!(answer(&mut accepted), Some(Ok(vec![Outcome::Accepted; 2])));
    let (received, done) = second_entry(&subject).await;
    assert_eq!(answer(&mut replicated), None);
    received.unwrap().answer();
    let early = Some(Ok(vec![Outcome::Replicated; 2]));
    assert_eq!(answer(&mut replicated), early);
    assert_eq!(answer(&mut synced), None);
    assert!(subject.batcher.in_flight_bytes() > 0, "not over yet");
    done(Ok(sent(1..7)));
    assert_eq!(answer(&mut synced), Some(Ok(sent(3..5))));
    assert_eq!(subject.batcher.in_flight_bytes(), 0);
    assert_eq!(subject.aftermath.failures(), 0);
}

#[tokio::test]
async fn what_is_synced_before_a_majority_has_told_is_answered_as_synced() {
    let subject = Subject::new();
    let [mut replicated, mut synced, _accepted] = subject.together();
    let (received, done) = second_entry(&subject).await;
    done(Ok(sent(1..7)));
    assert_eq!(answer(&mut replicated), Some(Ok(sent(1..3))));
    assert_eq!(answer(&mut synced), Some(Ok(sent(3..5))));
    let received = received.unwrap();
    assert!(received.is_settled());
    received.answer();
}

#[tokio::test]
async fn what_becomes_of_early_answered_commands_is_counted() {
    let subject = Subject::new();
    let [mut replicated, mut synced, _accepted] = subject.together();
    let (received, done) = second_entry(&subject).await;
    received.unwrap().answer();
    assert!(answer(&mut replicated).is_some());
    let refused = Outcome::Refused(Refusal::TooManyDelayed { limit: 1 });
    let repeated = Outcome::Refused(Refusal::RefusedBefore { sequence: 1 });
    let outcome = Outcome::Sent {
        queue: 0,
        offset: 3,
    };
    let mut outcomes = vec![outcome; 6];
    outcomes[0] = refused.clone();
    // The repetition of what was refused before was told when it came first.
    outcomes[1] = repeated;
    outcomes[2] = refused.clone();
    outcomes[5] = refused.clone();
    done(Ok(outcomes));
    // Who waited for it is told, and not counted.
    assert_eq!(answer(&mut synced).unwrap().unwrap()[0], refused);
    assert_eq!(
        (subject.aftermath.refused(), subject.aftermath.lost()),
        (2, 0)
    );
}

#[tokio::test]
async fn entries_that_are_lost_after_the_answer_are_counted_however_they_end() {
    for dropped in [false, true] {
        let subject = Subject::new();
        let [mut replicated, mut synced, _accepted] = subject.together();
        let (received, done) = second_entry(&subject).await;
        received.unwrap().answer();
        assert!(answer(&mut replicated).is_some());
        if dropped {
            drop(done);
        } else {
            done(Err(SubmitError::OutcomeUnknown));
        }
        let unknown = Some(Err(SubmitError::OutcomeUnknown));
        assert_eq!(answer(&mut synced), unknown);
        assert_eq!(
            (subject.aftermath.refused(), subject.aftermath.lost()),
            (0, 4)
        );
    }
}

#[tokio::test]
async fn a_replicated_send_that_was_not_answered_yet_hears_that_its_entry_is_lost() {
    let subject = Subject::new();
    let [mut replicated, _synced, _accepted] = subject.together();
    let (_received, done) = second_entry(&subject).await;
    done(Err(SubmitError::OutcomeUnknown));
    let unknown = Some(Err(SubmitError::OutcomeUnknown));
    assert_eq!(answer(&mut replicated), unknown);
    assert_eq!(subject.aftermath.lost(), 2, "the accepted ones only");
}

#[test]
fn a_sync_that_takes_longer_than_stated_is_counted() {
    let aftermath = Aftermath::default();
    let stated = Duration::from_millis(REPLICATED_SYNC_MS_MAX);
    aftermath.note(&sent(0..2), Some(stated));
    assert_eq!(aftermath.synced_late(), 0);
    aftermath.note(&sent(0..2), Some(stated + Duration::from_millis(1)));
    assert_eq!(aftermath.synced_late(), 2);
}

#[tokio::test]
async fn accepted_sends_that_were_never_proposed_are_counted_as_lost() {
    let subject = Subject::new();
    let first = subject.submit(Durability::Synced, 1);
    let accepted = subject.submit(Durability::Accepted, 3);
    assert_eq!(accepted.await, Ok(vec![Outcome::Accepted; 3]));
    subject.batcher.drain(Duration::from_millis(1)).await;
    assert_eq!(subject.aftermath.lost(), 3);
    drop(first);
}

/// Whatever is asked for: nobody may rely on a transaction that a power failure takes away.
#[tokio::test]
async fn only_sends_are_answered_early() {
    let others = [
        Command::Park {
            id: TransactionId(1),
        },
        Command::Due { until_ms: 1 },
    ];
    for other in others {
        for level in [Durability::Accepted, Durability::Replicated] {
            let subject = Subject::new();
            let commands = vec![send(), other.clone()];
            let pending = subject
                .batcher
                .submit_at(commands, level, &subject.aftermath);
            let mut pending = pending.unwrap();
            assert_eq!(answer(&mut pending), None);
            let (received, done) = subject.proposed.oldest();
            assert!(received.is_none());
            done(Ok(vec![Outcome::Applied; 2]));
            assert_eq!(answer(&mut pending), Some(Ok(vec![Outcome::Applied; 2])));
        }
    }
}

#[test]
fn what_a_part_has_seen_the_whole_has_seen() {
    let whole: Arc<Aftermath> = Arc::default();
    let part = Aftermath::part_of(&whole);
    part.note_lost(3);
    Aftermath::part_of(&whole).note_lost(1);
    assert_eq!((part.failures(), whole.failures()), (3, 4));
}
