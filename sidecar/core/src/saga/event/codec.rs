//! The binary form of a [`Start`] and an [`Event`].

use bytes::{BufMut as _, Bytes};

use super::{Act, Event, Note, Parent, Reason, Start, UndoCause};
use crate::{
    saga::{
        ErrorClass, Phase,
        codec::{
            DecodeError, check_end, check_version, damaged, get_flag, get_option, get_optional_u64,
            get_text, put_option, put_text,
        },
        definition::Version,
    },
    wire::{get_bytes, get_u8, get_u16, get_u32, get_u64, put_bytes},
};

const START: &str = "start of a saga";
const EVENT: &str = "saga event";
const VERSION: u8 = 1;

impl Start {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(96 + self.input.len());
        self.put(&mut to);
        to.into()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let start = Self::get(&mut from)?;
        check_end(&from)?;
        Ok(start)
    }

    pub(in crate::saga) fn put(&self, to: &mut Vec<u8>) {
        to.put_u8(VERSION);
        put_text(to, &self.saga);
        put_text(to, &self.definition);
        to.put_u128_le(self.version.0);
        put_bytes(to, &self.input);
        to.put_u64_le(self.start_at_ms);
        put_option(to, self.deadline_at_ms, |to, ms| to.put_u64_le(ms));
        put_option(to, self.parent.as_ref(), |to, parent| {
            put_text(to, &parent.saga);
            put_text(to, &parent.step);
        });
    }

    pub(in crate::saga) fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        check_version(from, START, VERSION)?;
        let saga = get_text(from, "the saga's id")?;
        let definition = get_text(from, "the definition's name")?;
        let (low, high) = (get_u64(from)?, get_u64(from)?);
        Ok(Self {
            saga,
            definition,
            version: Version(u128::from(low) | u128::from(high) << 64),
            input: get_bytes(from)?,
            start_at_ms: get_u64(from)?,
            deadline_at_ms: get_optional_u64(from, "the deadline")?,
            parent: get_option(from, "the parent", |from| {
                Ok(Parent {
                    saga: get_text(from, "the parent's id")?,
                    step: get_text(from, "the parent's step")?,
                })
            })?,
        })
    }
}

impl Event {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(16);
        self.put(&mut to);
        to.into()
    }

    pub(in crate::saga) fn put(&self, to: &mut Vec<u8>) {
        to.put_u8(VERSION);
        match self {
            Self::Started {
                step,
                phase,
                attempt,
                after,
            } => {
                to.put_u8(0);
                to.put_u16_le(*step);
                put_phase(to, *phase);
                to.put_u32_le(*attempt);
                to.put_u8(after.map_or(0xff, ErrorClass::number));
            }
            Self::Succeeded {
                step,
                phase,
                output,
            } => {
                to.put_u8(1);
                to.put_u16_le(*step);
                put_phase(to, *phase);
                put_bytes(to, output);
            }
            Self::Failed {
                step,
                only_call,
                message,
            } => {
                to.put_u8(2);
                to.put_u16_le(*step);
                to.put_u8((*only_call).into());
                put_text(to, message);
            }
            Self::Abandoned { step, reason } => {
                to.put_u8(3);
                to.put_u16_le(*step);
                put_reason(to, reason);
            }
            Self::Stuck {
                step,
                phase,
                reason,
            } => {
                to.put_u8(4);
                to.put_u16_le(*step);
                put_phase(to, *phase);
                put_reason(to, reason);
            }
            Self::UndoBegun { cause } => {
                to.put_u8(5);
                put_cause(to, *cause);
            }
            Self::ConfirmBegun => to.put_u8(6),
            Self::Parked => to.put_u8(7),
            Self::Completed => to.put_u8(8),
            Self::Undone => to.put_u8(9),
            Self::ResultDelivered => to.put_u8(10),
            Self::ResultGivenUp { message } => {
                to.put_u8(11);
                put_text(to, message);
            }
            Self::ByHand { act, note } => {
                to.put_u8(12);
                act.put(to);
                put_text(to, &note.by);
                put_text(to, &note.reason);
            }
        }
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let event = Self::get(&mut from)?;
        check_end(&from)?;
        Ok(event)
    }

    pub(in crate::saga) fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        check_version(from, EVENT, VERSION)?;
        Ok(match get_u8(from)? {
            0 => Self::Started {
                step: get_u16(from)?,
                phase: get_phase(from)?,
                attempt: get_u32(from)?,
                after: match get_u8(from)? {
                    0xff => None,
                    number => Some(class(number)?),
                },
            },
            1 => Self::Succeeded {
                step: get_u16(from)?,
                phase: get_phase(from)?,
                output: get_bytes(from)?,
            },
            2 => Self::Failed {
                step: get_u16(from)?,
                only_call: get_flag(from, "whether it is the only call")?,
                message: get_text(from, "a message")?,
            },
            3 => Self::Abandoned {
                step: get_u16(from)?,
                reason: get_reason(from)?,
            },
            4 => Self::Stuck {
                step: get_u16(from)?,
                phase: get_phase(from)?,
                reason: get_reason(from)?,
            },
            5 => Self::UndoBegun {
                cause: get_cause(from)?,
            },
            6 => Self::ConfirmBegun,
            7 => Self::Parked,
            8 => Self::Completed,
            9 => Self::Undone,
            10 => Self::ResultDelivered,
            11 => Self::ResultGivenUp {
                message: get_text(from, "a message")?,
            },
            12 => Self::ByHand {
                act: Act::get(from)?,
                note: Note {
                    by: get_text(from, "who did it")?,
                    reason: get_text(from, "a reason")?,
                },
            },
            _ => return Err(damaged("the kind of a saga event")),
        })
    }
}

pub(in crate::saga) fn put_phase(to: &mut Vec<u8>, phase: Phase) {
    to.put_u8(match phase {
        Phase::Action => 0,
        Phase::Undo => 1,
        Phase::Confirm => 2,
    });
}

pub(in crate::saga) fn get_phase(from: &mut Bytes) -> Result<Phase, DecodeError> {
    Ok(match get_u8(from)? {
        0 => Phase::Action,
        1 => Phase::Undo,
        2 => Phase::Confirm,
        _ => return Err(damaged("a phase")),
    })
}

fn class(number: u8) -> Result<ErrorClass, DecodeError> {
    ErrorClass::from_number(number).ok_or_else(|| damaged("an error class"))
}

pub(in crate::saga) fn put_cause(to: &mut Vec<u8>, cause: UndoCause) {
    match cause {
        UndoCause::Step(step) => {
            to.put_u8(0);
            to.put_u16_le(step);
        }
        UndoCause::Deadline => to.put_u8(1),
        UndoCause::ByHand => to.put_u8(2),
    }
}

pub(in crate::saga) fn get_cause(from: &mut Bytes) -> Result<UndoCause, DecodeError> {
    Ok(match get_u8(from)? {
        0 => UndoCause::Step(get_u16(from)?),
        1 => UndoCause::Deadline,
        2 => UndoCause::ByHand,
        _ => return Err(damaged("the cause of an undo")),
    })
}

pub(in crate::saga) fn put_reason(to: &mut Vec<u8>, reason: &Reason) {
    match reason {
        Reason::Refused { message } => {
            to.put_u8(0);
            put_text(to, message);
        }
        Reason::Exhausted { class, message } => {
            to.put_u8(1);
            to.put_u8(class.number());
            put_text(to, message);
        }
        Reason::OutputTooLarge { bytes, limit } => {
            to.put_u8(2);
            to.put_u64_le(*bytes);
            to.put_u64_le(*limit);
        }
        Reason::Undoing => to.put_u8(3),
    }
}

pub(in crate::saga) fn get_reason(from: &mut Bytes) -> Result<Reason, DecodeError> {
    Ok(match get_u8(from)? {
        0 => Reason::Refused {
            message: get_text(from, "a message")?,
        },
        1 => Reason::Exhausted {
            class: class(get_u8(from)?)?,
            message: get_text(from, "a message")?,
        },
        2 => Reason::OutputTooLarge {
            bytes: get_u64(from)?,
            limit: get_u64(from)?,
        },
        3 => Reason::Undoing,
        _ => return Err(damaged("a reason")),
    })
}

impl Act {
    pub(in crate::saga) fn put(&self, to: &mut Vec<u8>) {
        match self {
            Act::Retry { step } => {
                to.put_u8(0);
                to.put_u16_le(*step);
            }
            Act::Skip {
                step,
                phase,
                output,
            } => {
                to.put_u8(1);
                to.put_u16_le(*step);
                put_phase(to, *phase);
                put_bytes(to, output);
            }
            Act::EditInput { step, phase, input } => {
                to.put_u8(2);
                to.put_u16_le(*step);
                put_phase(to, *phase);
                put_bytes(to, input);
            }
            Act::Undo => to.put_u8(3),
            Act::Park => to.put_u8(4),
            Act::Resume => to.put_u8(5),
        }
    }

    pub(in crate::saga) fn get(from: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match get_u8(from)? {
            0 => Act::Retry {
                step: get_u16(from)?,
            },
            1 => Act::Skip {
                step: get_u16(from)?,
                phase: get_phase(from)?,
                output: get_bytes(from)?,
            },
            2 => Act::EditInput {
                step: get_u16(from)?,
                phase: get_phase(from)?,
                input: get_bytes(from)?,
            },
            3 => Act::Undo,
            4 => Act::Park,
            5 => Act::Resume,
            _ => return Err(damaged("an act")),
        })
    }
}
