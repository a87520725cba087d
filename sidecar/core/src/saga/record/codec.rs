//! The binary form of a [`Record`], without its definition, which is kept once for all.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut as _, Bytes};

use super::{Record, ResultState, Stage, Status, StepRecord, StepState};
use crate::{
    saga::{
        Definition, ErrorClass,
        codec::{
            DecodeError, check_end, check_version, damaged, get_count, get_flag, get_option,
            put_count, put_option,
        },
        event::{Start, get_cause, get_phase, get_reason, put_cause, put_phase, put_reason},
    },
    wire::{get_bytes, get_u8, get_u32, get_u64, put_bytes},
};

const WHAT: &str = "saga record";
const VERSION: u8 = 1;

impl Record {
    /// The binary form, without the definition; equal records have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(128 + self.payload_bytes);
        to.put_u8(VERSION);
        self.start.put(&mut to);
        to.put_u64_le(self.sequence);
        put_status(&mut to, self.status);
        put_option(&mut to, self.undo_cause, put_cause);
        to.put_u8(match self.result {
            ResultState::Pending => 0,
            ResultState::Delivered => 1,
            ResultState::GivenUp => 2,
        });
        put_count(&mut to, self.steps.len());
        self.steps.iter().for_each(|step| step.put(&mut to));
        to.into()
    }

    /// Which definition encoded bytes belong to, so that it can be found before they are
    /// read whole.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn peek(mut from: Bytes) -> Result<Start, DecodeError> {
        check_version(&mut from, WHAT, VERSION)?;
        Start::get(&mut from)
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are damaged, from a newer program, or of another definition.
    pub fn decode(definition: Arc<Definition>, mut from: Bytes) -> Result<Self, DecodeError> {
        let from = &mut from;
        check_version(from, WHAT, VERSION)?;
        let start = Start::get(from)?;
        let mut record =
            Self::start(definition, start).map_err(|_| damaged("the start of a saga"))?;
        record.sequence = get_u64(from)?;
        record.status = get_status(from)?;
        record.undo_cause = get_option(from, "the cause of the undo", get_cause)?;
        record.result = match get_u8(from)? {
            0 => ResultState::Pending,
            1 => ResultState::Delivered,
            2 => ResultState::GivenUp,
            _ => return Err(damaged("the result")),
        };
        if get_count(from)? != record.steps.len() {
            return Err(damaged("the number of steps"));
        }
        for step in &mut record.steps {
            *step = StepRecord::get(from)?;
            let edited: usize = step.edited.values().map(Bytes::len).sum();
            record.payload_bytes += edited + step.output.as_ref().map_or(0, Bytes::len);
        }
        check_end(from)?;
        Ok(record)
    }
}

impl StepRecord {
    fn put(&self, to: &mut Vec<u8>) {
        match self.state {
            StepState::Waiting => to.put_u8(0),
            StepState::Calling(phase) => {
                to.put_u8(1);
                put_phase(to, phase);
            }
            StepState::Succeeded => to.put_u8(2),
            StepState::Failed { only_call } => {
                to.put_u8(3);
                to.put_u8(only_call.into());
            }
            StepState::Abandoned => to.put_u8(4),
            StepState::Stuck { phase, refused } => {
                to.put_u8(5);
                put_phase(to, phase);
                to.put_u8(refused.into());
            }
            StepState::Undone => to.put_u8(6),
            StepState::Confirmed => to.put_u8(7),
        }
        to.put_u32_le(self.attempt);
        self.ended.iter().for_each(|count| to.put_u32_le(*count));
        to.put_u32_le(self.round);
        to.put_u8(self.called.into());
        put_option(to, self.output.as_ref(), |to, output| put_bytes(to, output));
        put_count(to, self.edited.len());
        for (phase, input) in &self.edited {
            put_phase(to, *phase);
            put_bytes(to, input);
        }
        put_option(to, self.reason.as_ref(), put_reason);
    }

    fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        let state = match get_u8(from)? {
            0 => StepState::Waiting,
            1 => StepState::Calling(get_phase(from)?),
            2 => StepState::Succeeded,
            3 => StepState::Failed {
                only_call: get_flag(from, "whether it is the only call")?,
            },
            4 => StepState::Abandoned,
            5 => StepState::Stuck {
                phase: get_phase(from)?,
                refused: get_flag(from, "whether it was refused")?,
            },
            6 => StepState::Undone,
            7 => StepState::Confirmed,
            _ => return Err(damaged("the state of a step")),
        };
        let attempt = get_u32(from)?;
        let mut ended = [0; ErrorClass::ALL.len()];
        for count in &mut ended {
            *count = get_u32(from)?;
        }
        let round = get_u32(from)?;
        let called = get_flag(from, "whether it was called")?;
        let output = get_option(from, "an output", |from| Ok(get_bytes(from)?))?;
        let edited = (0..get_count(from)?).map(|_| {
            let phase = get_phase(from)?;
            Ok::<_, DecodeError>((phase, get_bytes(from)?))
        });
        let edited = edited.collect::<Result<BTreeMap<_, _>, _>>()?;
        Ok(Self {
            state,
            attempt,
            ended,
            round,
            called,
            output,
            edited,
            reason: get_option(from, "a reason", get_reason)?,
        })
    }
}

fn put_status(to: &mut Vec<u8>, status: Status) {
    match status {
        Status::Working(stage) => {
            to.put_u8(0);
            put_stage(to, stage);
        }
        Status::Parked { stage, by_hand } => {
            to.put_u8(1);
            put_stage(to, stage);
            to.put_u8(by_hand.into());
        }
        Status::Completed => to.put_u8(2),
        Status::Undone => to.put_u8(3),
    }
}

fn get_status(from: &mut Bytes) -> Result<Status, DecodeError> {
    Ok(match get_u8(from)? {
        0 => Status::Working(get_stage(from)?),
        1 => Status::Parked {
            stage: get_stage(from)?,
            by_hand: get_flag(from, "who parked it")?,
        },
        2 => Status::Completed,
        3 => Status::Undone,
        _ => return Err(damaged("the status")),
    })
}

fn put_stage(to: &mut Vec<u8>, stage: Stage) {
    to.put_u8(match stage {
        Stage::Forward => 0,
        Stage::Confirm => 1,
        Stage::Undo => 2,
    });
}

fn get_stage(from: &mut Bytes) -> Result<Stage, DecodeError> {
    Ok(match get_u8(from)? {
        0 => Stage::Forward,
        1 => Stage::Confirm,
        2 => Stage::Undo,
        _ => return Err(damaged("the stage")),
    })
}
