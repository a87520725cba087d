//! The binary form of a [`Command`].

use bytes::{BufMut as _, Bytes};

use super::{Command, Reported};
use crate::{
    saga::{
        codec::{
            DecodeError, check_end, check_version, damaged, get_count, get_option, get_text,
            put_count, put_option, put_text,
        },
        event::{Act, Event, Note, Start, get_phase, put_phase},
    },
    wire::{get_bytes, get_u8, get_u32, get_u64, put_bytes},
};

const WHAT: &str = "saga command";
const VERSION: u8 = 1;

/// Everything of a command or an event that has no length of its own, at most.
const FIXED_BYTES_MAX: usize = 128;

impl Command {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(self.encoded_bytes_max());
        self.put(&mut to);
        to.into()
    }

    /// Appends the binary form.
    pub fn put(&self, to: &mut Vec<u8>) {
        to.put_u8(VERSION);
        match self {
            Self::Define { encoded } => {
                to.put_u8(0);
                put_bytes(to, encoded);
            }
            Self::Start { start, owner } => {
                to.put_u8(1);
                start.put(to);
                put_option(to, *owner, |to, owner| to.put_u128_le(owner));
            }
            Self::Append {
                saga,
                epoch,
                after,
                events,
            } => {
                to.put_u8(2);
                put_text(to, saga);
                to.put_u64_le(*epoch);
                to.put_u64_le(*after);
                put_count(to, events.len());
                events.iter().for_each(|event| event.put(to));
            }
            Self::Act { saga, act, note } => {
                to.put_u8(3);
                put_text(to, saga);
                act.put(to);
                put_text(to, &note.by);
                put_text(to, &note.reason);
            }
            Self::Report {
                saga,
                step,
                phase,
                outcome,
            } => {
                to.put_u8(4);
                put_text(to, saga);
                put_text(to, step);
                put_phase(to, *phase);
                match outcome {
                    Reported::Success { output } => {
                        to.put_u8(0);
                        put_bytes(to, output);
                    }
                    Reported::Failure { message } => {
                        to.put_u8(1);
                        put_text(to, message);
                    }
                }
            }
            Self::Own {
                owner,
                lease_ms,
                take_max,
                heard,
            } => {
                to.put_u8(5);
                to.put_u128_le(*owner);
                to.put_u64_le(*lease_ms);
                to.put_u32_le(*take_max);
                to.put_u64_le(*heard);
            }
        }
    }

    /// Reads the binary form. What it carries shares the memory of the bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer program.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let from = &mut from;
        check_version(from, WHAT, VERSION)?;
        let command = match get_u8(from)? {
            0 => Self::Define {
                encoded: get_bytes(from)?,
            },
            1 => Self::Start {
                start: Start::get(from)?,
                owner: get_option(from, "an owner", get_owner)?,
            },
            2 => Self::Append {
                saga: get_text(from, "the id of a saga")?,
                epoch: get_u64(from)?,
                after: get_u64(from)?,
                events: {
                    let events = (0..get_count(from)?).map(|_| Event::get(from));
                    events.collect::<Result<_, _>>()?
                },
            },
            3 => Self::Act {
                saga: get_text(from, "the id of a saga")?,
                act: Act::get(from)?,
                note: Note {
                    by: get_text(from, "who did it")?,
                    reason: get_text(from, "a reason")?,
                },
            },
            4 => Self::Report {
                saga: get_text(from, "the id of a saga")?,
                step: get_text(from, "the name of a step")?,
                phase: get_phase(from)?,
                outcome: match get_u8(from)? {
                    0 => Reported::Success {
                        output: get_bytes(from)?,
                    },
                    1 => Reported::Failure {
                        message: get_text(from, "a message")?,
                    },
                    _ => return Err(damaged("the end of a call")),
                },
            },
            5 => Self::Own {
                owner: get_owner(from)?,
                lease_ms: get_u64(from)?,
                take_max: get_u32(from)?,
                heard: get_u64(from)?,
            },
            _ => return Err(damaged("the kind of a saga command")),
        };
        check_end(from)?;
        Ok(command)
    }

    /// How many bytes the binary form takes, at most.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        FIXED_BYTES_MAX
            + match self {
                Self::Define { encoded } => encoded.len(),
                Self::Start { start, .. } => {
                    let parent = start.parent.as_ref();
                    let parent = parent.map_or(0, |parent| parent.saga.len() + parent.step.len());
                    start.saga.len() + start.definition.len() + start.input.len() + parent
                }
                Self::Append { saga, events, .. } => {
                    let events = events.iter().map(event_bytes_max);
                    saga.len() + events.sum::<usize>()
                }
                Self::Act { saga, act, note } => {
                    saga.len() + act_bytes(act) + note.by.len() + note.reason.len()
                }
                Self::Report {
                    saga,
                    step,
                    outcome,
                    ..
                } => {
                    let outcome = match outcome {
                        Reported::Success { output } => output.len(),
                        Reported::Failure { message } => message.len(),
                    };
                    saga.len() + step.len() + outcome
                }
                Self::Own { .. } => 0,
            }
    }
}

fn event_bytes_max(event: &Event) -> usize {
    use crate::saga::event::Reason;
    let text = match event {
        Event::Succeeded { output, .. } => output.len(),
        Event::Failed { message, .. } | Event::ResultGivenUp { message } => message.len(),
        Event::Abandoned { reason, .. } | Event::Stuck { reason, .. } => match reason {
            Reason::Refused { message } | Reason::Exhausted { message, .. } => message.len(),
            Reason::OutputTooLarge { .. } | Reason::Undoing => 0,
        },
        Event::ByHand { act, note } => act_bytes(act) + note.by.len() + note.reason.len(),
        Event::Started { .. }
        | Event::UndoBegun { .. }
        | Event::ConfirmBegun
        | Event::Parked
        | Event::Completed
        | Event::Undone
        | Event::ResultDelivered => 0,
    };
    EVENT_BYTES_MAX + text
}

/// Everything of an event that has no length of its own, at most.
const EVENT_BYTES_MAX: usize = 32;

fn act_bytes(act: &Act) -> usize {
    match act {
        Act::Skip { output, .. } => output.len(),
        Act::EditInput { input, .. } => input.len(),
        Act::Retry { .. } | Act::Undo | Act::Park | Act::Resume => 0,
    }
}

fn get_owner(from: &mut Bytes) -> Result<u128, DecodeError> {
    let (low, high) = (get_u64(from)?, get_u64(from)?);
    Ok(u128::from(low) | u128::from(high) << 64)
}
