use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pending::Answer;
use crate::command::{Outcome, Refusal};

/// Within this time what was answered as replicated is on the disks of a majority; whatever
/// takes longer is counted.
pub const REPLICATED_SYNC_MS_MAX: u64 = 1_000;

/// What became, later, of commands that were answered early. Nobody can be told any more,
/// so it is counted.
#[derive(Debug, Default)]
pub struct Aftermath {
    refused: AtomicU64,
    lost: AtomicU64,
    synced_late: AtomicU64,
    whole: Option<Arc<Aftermath>>,
}

impl Aftermath {
    /// Counts in a larger one as well.
    #[must_use]
    pub fn part_of(whole: &Arc<Self>) -> Self {
        Self {
            whole: Some(Arc::clone(whole)),
            ..Self::default()
        }
    }

    /// Commands that were refused when they were applied.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Commands of entries that were not committed, or of which nothing is known because this
    /// node lost its leadership or stopped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// Commands that were answered as replicated and were not on the disks of a majority
    /// within [`REPLICATED_SYNC_MS_MAX`].
    #[must_use]
    pub fn synced_late(&self) -> u64 {
        self.synced_late.load(Ordering::SeqCst)
    }

    /// How often a producer's sequence may have been interrupted without its knowledge.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.refused() + self.lost()
    }

    pub(super) fn note(&self, outcomes: &[Outcome], took: Option<Duration>) {
        let refused = outcomes.iter().filter(|outcome| is_refused(outcome));
        add(&self.refused, refused.count());
        if took.is_some_and(|took| took > Duration::from_millis(REPLICATED_SYNC_MS_MAX)) {
            add(&self.synced_late, outcomes.len());
        }
        if let Some(whole) = &self.whole {
            whole.note(outcomes, took);
        }
    }

    /// Commands that were answered early are lost.
    pub fn note_lost(&self, commands: usize) {
        add(&self.lost, commands);
        if let Some(whole) = &self.whole {
            whole.note_lost(commands);
        }
    }
}

/// The repetition of what was refused before has been told once.
fn is_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(Refusal::RefusedBefore { .. }) => false,
        Outcome::Refused(_) => true,
        _ => false,
    }
}

fn add(counter: &AtomicU64, count: usize) {
    if count > 0 {
        counter.fetch_add(count as u64, Ordering::SeqCst);
    }
}

/// Who is answered as soon as a majority has received an entry. Belongs to one entry, on the
/// node that proposed it.
#[derive(Debug)]
pub(crate) struct Received {
    state: Mutex<State>,
}

/// How many commands, and who waits for their outcomes.
pub(super) type Waiting = (usize, oneshot::Sender<Answer>);

#[derive(Debug)]
pub(super) enum State {
    /// Neither received by a majority nor over. In the order of the submissions.
    Waiting(Vec<Waiting>),
    /// Answered when a majority had received it.
    Answered { at: Instant },
    /// The entry has ended.
    Over,
}

impl Received {
    pub(super) fn new(waiting: Vec<Waiting>) -> Self {
        Self {
            state: Mutex::new(State::Waiting(waiting)),
        }
    }

    /// For tests of who answers it when.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        Self::new(Vec::new())
    }

    /// A majority has the entry in memory.
    pub(crate) fn answer(&self) {
        let mut state = self.state();
        if let State::Waiting(waiting) = &mut *state {
            let waiting = mem::take(waiting);
            *state = State::Answered { at: Instant::now() };
            drop(state);
            for (count, sender) in waiting {
                // A client that went away does not need its answer.
                let _ = sender.send(Ok(vec![Outcome::Replicated; count]));
            }
        }
    }

    /// True when there is nobody left to answer.
    pub(crate) fn is_settled(&self) -> bool {
        match &*self.state() {
            State::Waiting(_) => false,
            State::Answered { .. } | State::Over => true,
        }
    }

    /// The entry was applied or is lost; gives back who was not answered before.
    pub(super) fn end(&self) -> State {
        mem::replace(&mut *self.state(), State::Over)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
