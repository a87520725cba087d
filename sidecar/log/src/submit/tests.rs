//! What submitters are told when leaders change.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;

use super::early::Received;
use super::pending::Answer;
use super::{Batcher, Clock, Limits, Pending, Propose, SubmitError, WallClock};
use crate::command::{Command, Outcome};

type Done = Box<dyn FnOnce(Answer) + Send>;

/// Entries that were proposed and not answered.
#[derive(Clone, Default)]
struct Proposed(Arc<Mutex<VecDeque<Done>>>);

impl Proposed {
    fn answer(&self, answer: Answer) {
        let done = self.0.lock().unwrap().pop_front().unwrap();
        done(answer);
    }
}

impl Propose for Proposed {
    fn propose(
        &self,
        _body: Bytes,
        _received: Option<Arc<Received>>,
        done: impl FnOnce(Answer) + Send + 'static,
    ) {
        self.0.lock().unwrap().push_back(Box::new(done));
    }

    fn refusal(&self, _commands: &[Command]) -> Option<SubmitError> {
        None
    }
}

const NOT_LEADER: SubmitError = SubmitError::NotLeader { leader: Some(2) };

fn batcher(entry_bytes_max: u64) -> (Arc<Batcher<Proposed>>, Proposed) {
    let limits = Limits {
        in_flight_bytes_max: 1 << 20,
        entry_bytes_max,
        entry_bytes_target: entry_bytes_max,
    };
    let proposed = Proposed::default();
    let clock = Clock::not_before(WallClock::default(), 0);
    let batcher = Batcher::new(limits, clock, proposed.clone());
    (batcher, proposed)
}

fn due() -> Command {
    Command::Due { until_ms: 1 }
}

fn now(pending: Pending) -> Option<Answer> {
    pending.now_or_never()
}

#[test]
fn what_waits_is_refused_and_what_was_proposed_is_not() {
    let (batcher, proposed) = batcher(1 << 10);
    let first = batcher.submit(vec![due()]).unwrap();
    let second = batcher.submit(vec![due()]).unwrap();
    batcher.refuse_waiting(NOT_LEADER);
    assert_eq!(now(second), Some(Err(NOT_LEADER)));
    proposed.answer(Ok(vec![Outcome::Applied]));
    assert_eq!(now(first), Some(Ok(vec![Outcome::Applied])));
    assert_eq!(batcher.in_flight_bytes(), 0);
}

#[test]
fn what_is_not_waited_for_any_longer_is_unknown_and_makes_room() {
    let (batcher, proposed) = batcher(1 << 10);
    let abandoned = batcher.submit(vec![due()]).unwrap();
    batcher.abandon();
    assert_eq!(now(abandoned), Some(Err(SubmitError::OutcomeUnknown)));
    assert_eq!(batcher.in_flight_bytes(), 0);
    let next = batcher.submit(vec![due()]).unwrap();
    // What was abandoned ends later, and is counted once.
    proposed.answer(Ok(vec![Outcome::Applied]));
    assert!(batcher.in_flight_bytes() > 0);
    drop(proposed.0.lock().unwrap().pop_front());
    assert_eq!(now(next), Some(Err(SubmitError::OutcomeUnknown)));
    assert_eq!(batcher.in_flight_bytes(), 0);
}

#[tokio::test]
async fn several_entries_of_one_submission_were_refused_only_if_all_were() {
    for (answers, told) in [
        ([Err(NOT_LEADER), Err(NOT_LEADER)], NOT_LEADER),
        (
            [Err(NOT_LEADER), Ok(vec![Outcome::Applied])],
            SubmitError::OutcomeUnknown,
        ),
        (
            [Ok(vec![Outcome::Applied]), Err(NOT_LEADER)],
            SubmitError::OutcomeUnknown,
        ),
        (
            [Err(SubmitError::OutcomeUnknown), Err(NOT_LEADER)],
            SubmitError::OutcomeUnknown,
        ),
    ] {
        let size = due().encoded_bytes_max() as u64;
        let (batcher, proposed) = batcher(size);
        let running = tokio::spawn(Arc::clone(&batcher).run());
        let pending = batcher.submit(vec![due(), due()]).unwrap();
        for answer in answers {
            while proposed.0.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            proposed.answer(answer);
        }
        assert_eq!(pending.await, Err(told));
        running.abort();
    }
}
