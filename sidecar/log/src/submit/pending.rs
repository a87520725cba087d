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
}

impl Pending {
    pub(super) fn new(parts: VecDeque<oneshot::Receiver<Answer>>) -> Self {
        Self {
            parts,
            outcomes: Vec::new(),
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
            let outcomes = answer.unwrap_or(Err(SubmitError::OutcomeUnknown))?;
            if self.outcomes.is_empty() {
                self.outcomes = outcomes;
            } else {
                self.outcomes.extend(outcomes);
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut self.outcomes)))
    }
}
