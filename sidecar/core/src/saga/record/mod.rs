//! What is durably known about one saga, and which event may follow.

mod apply;
mod by_hand;
mod check;
mod codec;
mod illegal;
mod payload;
mod rules;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

pub(super) use check::stage_of;
pub use illegal::{Illegal, StartError};

use super::{
    Definition, ErrorClass, Phase, StepIndex,
    event::{Reason, Start, UndoCause},
};

/// One saga, as far as it is durably known: its [`Start`] and its events, folded.
///
/// The log store keeps one for every saga and lets [`Record::apply`] decide what may be
/// recorded; the owner has one inside of its [`Saga`](super::Saga). Both therefore know the
/// same, and a saga that was recovered is the saga that it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    definition: Arc<Definition>,
    start: Start,
    sequence: u64,
    status: Status,
    undo_cause: Option<UndoCause>,
    result: ResultState,
    steps: Vec<StepRecord>,
    payload_bytes: usize,
    #[cfg(test)]
    pub(in crate::saga) planted: Option<super::tests::Planted>,
}

/// How far a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// At work.
    Working(Stage),
    /// Set aside: no call begins. Outcomes of calls that are under way are still recorded.
    Parked {
        /// What it was at, and goes on with.
        stage: Stage,
        /// A person set it aside, and only a person's Resume lets it go on. Otherwise steps
        /// were stuck, and it goes on as soon as one of them is not.
        by_hand: bool,
    },
    /// Every step has succeeded.
    Completed,
    /// Everything that was done is undone.
    Undone,
}

/// What a saga is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Actions, or tries.
    Forward,
    /// Confirms.
    Confirm,
    /// Undos, or cancels.
    Undo,
}

/// What became of the result of a saga that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultState {
    /// It has not arrived yet.
    Pending,
    /// It has arrived.
    Delivered,
    /// It was given up.
    GivenUp,
}

/// How far one step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It was never called.
    Waiting,
    /// It is being called; the outcome is not recorded.
    Calling(Phase),
    /// Its action has succeeded.
    Succeeded,
    /// Its action was refused for a reason of the business.
    Failed {
        /// The refused call is the only one that was sent: there is nothing to undo.
        only_call: bool,
    },
    /// The outcome of its action is unknown for ever.
    Abandoned,
    /// It waits for a person.
    Stuck {
        /// What it was called for.
        phase: Phase,
        /// It was refused for a reason of the business.
        refused: bool,
    },
    /// Its undo has succeeded.
    Undone,
    /// Its confirm has succeeded.
    Confirmed,
}

/// What is known about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    pub(super) state: StepState,
    /// The number of the last attempt of the phase.
    pub(super) attempt: u32,
    /// Attempts of the phase that ended without an outcome, by class.
    pub(super) ended: [u32; ErrorClass::ALL.len()],
    /// How often a person had it called again after a refusal, in this phase.
    pub(super) round: u32,
    /// Its action was called at least once.
    pub(super) called: bool,
    /// What the action gave back.
    pub(super) output: Option<Bytes>,
    /// Inputs that people wrote.
    pub(super) edited: BTreeMap<Phase, Bytes>,
    /// Why it failed, was given up or is stuck.
    pub(super) reason: Option<Reason>,
}

impl Record {
    /// What is known when a saga has just been started.
    ///
    /// # Errors
    /// When the start does not fit the definition.
    pub fn start(definition: Arc<Definition>, start: Start) -> Result<Self, StartError> {
        check::start(&definition, &start)?;
        let steps = definition.steps().iter().map(|_| StepRecord::new());
        Ok(Self {
            steps: steps.collect(),
            definition,
            sequence: 0,
            status: Status::Working(Stage::Forward),
            undo_cause: None,
            result: ResultState::Pending,
            payload_bytes: start.input.len(),
            start,
            #[cfg(test)]
            planted: None,
        })
    }

    /// The definition that the saga keeps.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// How it began.
    #[must_use]
    pub fn started(&self) -> &Start {
        &self.start
    }

    /// How many events are applied.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why it is undone.
    #[must_use]
    pub fn undo_cause(&self) -> Option<UndoCause> {
        self.undo_cause
    }

    /// What became of its result.
    #[must_use]
    pub fn result_state(&self) -> ResultState {
        self.result
    }

    /// Its steps, in the order of the definition.
    #[must_use]
    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    /// One step.
    #[must_use]
    pub fn step(&self, step: StepIndex) -> Option<&StepRecord> {
        self.steps.get(usize::from(step))
    }

    /// The bytes of all payloads that it keeps.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// It has ended, and its result is where it should be: an owner has nothing to do.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.status {
            Status::Working(_) | Status::Parked { .. } => false,
            Status::Completed | Status::Undone => {
                self.definition.deliveries().is_empty() || self.result != ResultState::Pending
            }
        }
    }

    /// Steps that wait for a person.
    pub fn stuck(&self) -> impl Iterator<Item = StepIndex> + '_ {
        self.indices()
            .filter(|step| matches!(self.state(*step), StepState::Stuck { .. }))
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = StepIndex> + use<> {
        0..StepIndex::try_from(self.steps.len()).unwrap_or(StepIndex::MAX)
    }

    /// The state of a step; one that does not exist waits for ever.
    pub(super) fn state(&self, step: StepIndex) -> StepState {
        self.step(step).map_or(StepState::Waiting, |s| s.state)
    }
}

impl StepRecord {
    fn new() -> Self {
        Self {
            state: StepState::Waiting,
            attempt: 0,
            ended: [0; ErrorClass::ALL.len()],
            round: 0,
            called: false,
            output: None,
            edited: BTreeMap::new(),
            reason: None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> StepState {
        self.state
    }

    /// The number of the last attempt in the phase that it is in; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What its action gave back, or a person in its place.
    #[must_use]
    pub fn output(&self) -> Option<&Bytes> {
        self.output.as_ref()
    }

    /// Why it failed, was given up or is stuck.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// How many attempts ended so that they count for this class.
    pub(super) fn ended(&self, retry: &super::definition::Retry, class: ErrorClass) -> u32 {
        let classes = ErrorClass::ALL.into_iter().zip(self.ended);
        let counted = classes.filter(|(other, _)| retry.counted_with(class, *other));
        counted.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}
