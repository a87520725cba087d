//! What can happen to a state machine between two entries.

use proptest::prelude::*;

use super::super::Checkpoint;
use super::Subject;
use crate::apply::{Apply as _, Checkpoint as _};
use crate::floor::FloorFile;

/// What happens after an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    Nothing,
    Checkpoint,
    /// A checkpoint begins, and is written while the next entries are applied.
    CheckpointBegins,
    /// The checkpoint that has begun, or one that begins now, fails.
    CheckpointFails(Got),
    Crash,
    /// The crash comes when index and verdicts are written and the rest is not.
    CrashInCheckpoint,
    Reset,
}

/// How far a checkpoint got that failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Got {
    Nowhere,
    IndexAndVerdicts,
    /// It is on disk, but it could not be known.
    Everywhere,
}

impl Got {
    fn write(self, checkpoint: Checkpoint) {
        match self {
            Self::Nowhere => drop(checkpoint),
            Self::IndexAndVerdicts => checkpoint.write_half().unwrap(),
            Self::Everywhere => drop(checkpoint.write(None).unwrap()),
        }
    }
}

pub(super) fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        6 => Just(Then::Nothing),
        2 => Just(Then::Checkpoint),
        2 => Just(Then::CheckpointBegins),
        1 => Just(Then::CheckpointFails(Got::Nowhere)),
        1 => Just(Then::CheckpointFails(Got::IndexAndVerdicts)),
        1 => Just(Then::CheckpointFails(Got::Everywhere)),
        1 => Just(Then::Crash),
        1 => Just(Then::CrashInCheckpoint),
        1 => Just(Then::Reset),
    ]
}

/// What has become of the checkpoints.
#[derive(Default)]
pub(super) struct Fate {
    in_flight: Option<Checkpoint>,
    /// Floor checkpoints, and as of which entry they are.
    pub(super) floors: Vec<(u64, FloorFile)>,
}

impl Fate {
    fn finish(&mut self, subject: &mut Subject) {
        if let Some(checkpoint) = self.in_flight.take() {
            checkpoint.write(None).unwrap();
            subject.state.end_checkpoint(true);
        }
    }

    pub(super) fn befall(&mut self, mut subject: Subject, then: Then) -> Subject {
        match then {
            Then::Nothing => {}
            Then::Checkpoint => {
                self.finish(&mut subject);
                self.floors.extend(subject.checkpoint_with_floor());
            }
            Then::CheckpointBegins => {
                self.finish(&mut subject);
                self.in_flight = subject.state.begin_checkpoint();
            }
            Then::CheckpointFails(got) => {
                let begun = self.in_flight.take();
                if let Some(checkpoint) = begun.or_else(|| subject.state.begin_checkpoint()) {
                    got.write(checkpoint);
                    subject.state.end_checkpoint(false);
                }
            }
            Then::Crash => {
                self.in_flight = None;
                return subject.crash();
            }
            Then::CrashInCheckpoint => {
                self.finish(&mut subject);
                if let Some(checkpoint) = subject.state.begin_checkpoint() {
                    checkpoint.write_half().unwrap();
                }
                return subject.crash();
            }
            Then::Reset => {
                self.in_flight = None;
                subject.state.reset().unwrap();
                assert_eq!(subject.state.applied(), None);
                return subject.crash();
            }
        }
        subject
    }
}
