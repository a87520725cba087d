use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::SubmitError;
use super::early::{Aftermath, Received, State, Waiting};
use super::pending::Answer;
use crate::command::Outcome;

/// When the commands of one submission are answered.
pub(super) enum Answering {
    /// When they are applied.
    Synced(oneshot::Sender<Answer>),
    /// When a majority has received them.
    Replicated(oneshot::Sender<Answer>, Arc<Aftermath>),
    /// They were answered when they were taken.
    Accepted(Arc<Aftermath>),
}

impl Answering {
    /// Nothing of it was proposed.
    pub(super) fn fail(self, commands: usize, error: SubmitError) {
        match self {
            // A client that went away does not need its answer.
            Self::Synced(sender) | Self::Replicated(sender, _) => drop(sender.send(Err(error))),
            Self::Accepted(aftermath) => aftermath.note_lost(commands),
        }
    }
}

/// Who waits for one part of an entry.
struct Part {
    commands: usize,
    told: Told,
}

enum Told {
    Later(oneshot::Sender<Answer>),
    /// The sender is with those who are answered when a majority has received the entry.
    WhenReceived(Arc<Aftermath>),
    Already(Arc<Aftermath>),
}

/// Those who wait for an entry that was proposed.
pub(super) struct UnderWay {
    bytes: u64,
    parts: Vec<Part>,
    received: Option<Arc<Received>>,
}

impl UnderWay {
    pub(super) fn new(bytes: u64, submissions: Vec<(usize, Answering)>) -> Self {
        let mut waiting: Vec<Waiting> = Vec::new();
        let part = |(commands, answering)| {
            let told = match answering {
                Answering::Synced(sender) => Told::Later(sender),
                Answering::Accepted(aftermath) => Told::Already(aftermath),
                Answering::Replicated(sender, aftermath) => {
                    waiting.push((commands, sender));
                    Told::WhenReceived(aftermath)
                }
            };
            Part { commands, told }
        };
        let parts = submissions.into_iter().map(part).collect();
        let received = (!waiting.is_empty()).then(|| Arc::new(Received::new(waiting)));
        Self {
            bytes,
            parts,
            received,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Who is answered before, if anybody is.
    pub(super) fn received(&self) -> Option<Arc<Received>> {
        self.received.clone()
    }

    /// Gives every submission the outcomes of its own commands, and notes what became of
    /// those that were answered before.
    pub(super) fn settle(self, answer: Answer) {
        let (waiting, answered_at) = match self.received.map(|received| received.end()) {
            Some(State::Waiting(waiting)) => (waiting, None),
            Some(State::Answered { at }) => (Vec::new(), Some(at)),
            Some(State::Over) | None => (Vec::new(), None),
        };
        let waiting = waiting.into_iter();
        match answer {
            Ok(outcomes) => distribute(outcomes, self.parts, waiting, answered_at),
            Err(error) => fail(error, self.parts, waiting),
        }
    }
}

fn fail(error: SubmitError, parts: Vec<Part>, mut waiting: impl Iterator<Item = Waiting>) {
    for part in parts {
        // A client that went away does not need its answer.
        match part.told {
            Told::Later(sender) => drop(sender.send(Err(error))),
            Told::WhenReceived(aftermath) => match waiting.next() {
                Some((_, sender)) => drop(sender.send(Err(error))),
                None => aftermath.note_lost(part.commands),
            },
            Told::Already(aftermath) => aftermath.note_lost(part.commands),
        }
    }
}

fn distribute(
    mut outcomes: Vec<Outcome>,
    parts: Vec<Part>,
    mut waiting: impl Iterator<Item = Waiting>,
    answered_at: Option<Instant>,
) {
    let alone = parts.len() == 1;
    let mut rest = if alone {
        Vec::new().into_iter()
    } else {
        std::mem::take(&mut outcomes).into_iter()
    };
    for part in parts {
        let own = if alone {
            std::mem::take(&mut outcomes)
        } else {
            rest.by_ref().take(part.commands).collect()
        };
        match part.told {
            Told::Later(sender) => drop(sender.send(Ok(own))),
            Told::WhenReceived(aftermath) => match waiting.next() {
                Some((_, sender)) => drop(sender.send(Ok(own))),
                None => aftermath.note(&own, answered_at.map(|at| at.elapsed())),
            },
            Told::Already(aftermath) => aftermath.note(&own, None),
        }
    }
}
