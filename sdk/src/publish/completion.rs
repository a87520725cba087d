use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use outrigger_proto::v1;

use super::Error;

/// Where the operations of one frame wait for their outcomes. Shared by all of them, so
/// that an operation costs no allocation of its own.
#[derive(Debug, Default)]
pub(super) struct Completion {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// One place for each operation that somebody waits for.
    Waiting(Vec<Option<Waker>>),
    Answered(Vec<v1::Outcome>),
    Failed(Error),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Completion {
    pub(super) fn answer(&self, outcomes: Vec<v1::Outcome>) {
        self.settle(State::Answered(outcomes));
    }

    pub(super) fn fail(&self, error: Error) {
        self.settle(State::Failed(error));
    }

    fn settle(&self, state: State) {
        let before = std::mem::replace(&mut *self.lock(), state);
        if let State::Waiting(wakers) = before {
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    /// The outcome of the operation at `index`; to be taken once.
    pub(super) fn poll(&self, index: usize, waker: &Waker) -> Poll<Result<v1::Outcome, Error>> {
        match &mut *self.lock() {
            State::Waiting(wakers) => {
                if wakers.len() <= index {
                    wakers.resize(index + 1, None);
                }
                match wakers.get_mut(index) {
                    Some(Some(known)) if known.will_wake(waker) => {}
                    Some(place) => *place = Some(waker.clone()),
                    None => {}
                }
                Poll::Pending
            }
            State::Answered(outcomes) => {
                Poll::Ready(outcomes.get_mut(index).map(std::mem::take).ok_or_else(|| {
                    Error::Protocol {
                        problem: "fewer outcomes than operations".to_owned(),
                    }
                }))
            }
            State::Failed(error) => Poll::Ready(Err(error.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
