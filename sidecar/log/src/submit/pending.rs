use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::SubmitError;
use crate::command::Outcome;

/// What the commands of one entry were answered.
pub(super) type Answer = Result<Vec<Outcome>, SubmitError>;

/// The answers to submitted commands, when they are durable and applied.
///
/// Dropping it does not take the commands back.
#[derive(Debug)]
#[must_use = "whether the commands were durable is only known from the answers"]
pub struct Pending {
    /// One for each entry that the commands were divided into.
    parts: VecDeque<oneshot::Receiver<Answer>>,
    outcomes: Vec<Outcome>,
    /// Why an earlier part was not answered with outcomes.
    failure: Option<SubmitError>,
    /// Some part was taken, or may have been.
    taken: bool,
}

impl Pending {
    pub(super) fn new(parts: VecDeque<oneshot::Receiver<Answer>>) -> Self {
        Self {
            parts,
            outcomes: Vec::new(),
            failure: None,
            taken: false,
        }
    }
}

impl Future for Pending {
    /// One outcome for each command, in order.
    type Output = Result<Vec<Outcome>, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(part) = self.parts.front_mut() {
            let answer = ready!(Pin::new(part).poll(context));
            self.parts.pop_front();
            match answer.unwrap_or(Err(SubmitError::OutcomeUnknown)) {
                Ok(outcomes) => {
                    self.taken = true;
                    if self.outcomes.is_empty() {
                        self.outcomes = outcomes;
                    } else {
                        self.outcomes.extend(outcomes);
                    }
                }
                Err(error) => {
                    self.taken |= error == SubmitError::OutcomeUnknown;
                    self.failure.get_or_insert(error);
                }
            }
        }
        if let Some(failure) = self.failure {
            // Only when all parts were refused nothing was taken.
            let unknown = SubmitError::OutcomeUnknown;
            return Poll::Ready(Err(if self.taken { unknown } else { failure }));
        }
        Poll::Ready(Ok(std::mem::take(&mut self.outcomes)))
    }
}
