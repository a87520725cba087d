//! The compact binary form of a [`Record`].

use bytes::{BufMut as _, Bytes};

use super::{
    Mode, Record,
    record::{Counter, Done, Hold, InProgress},
};
use crate::wire::{Short, get_bytes, get_u8, get_u64, put_bytes};

const VERSION: u8 = 1;

const ABSENT: u8 = 0;
const IN_PROGRESS: u8 = 1;
const DONE: u8 = 2;

/// Why stored bytes are not a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("guard record has version {version}, this program reads {VERSION}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// The bytes are damaged.
    #[error("guard record is damaged: {what}")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
}

impl From<Short> for DecodeError {
    fn from(_: Short) -> Self {
        Self::Damaged { what: "too short" }
    }
}

impl Record {
    /// The compact binary form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(64);
        to.put_u8(VERSION);
        to.put_u64_le(self.fencing);
        to.put_u64_le(self.fencing_kept_until_ms);
        match self.counter {
            None => to.put_u8(0),
            Some(counter) => {
                to.put_u8(1);
                to.put_u64_le(counter.count);
                to.put_u64_le(counter.expires_at_ms);
            }
        }
        match &self.hold {
            Hold::Absent => to.put_u8(ABSENT),
            Hold::InProgress(held) => {
                to.put_u8(IN_PROGRESS);
                to.put_u8(match held.mode {
                    Mode::Record => 0,
                    Mode::SetNx => 1,
                });
                to.put_u8(held.takeover.into());
                to.put_u64_le(held.deadline_ms);
                put_bytes(&mut to, held.token.as_bytes());
                put_bytes(&mut to, &held.fingerprint);
            }
            Hold::Done(done) => {
                to.put_u8(DONE);
                to.put_u64_le(done.expires_at_ms);
                put_bytes(&mut to, done.token.as_bytes());
                put_bytes(&mut to, &done.fingerprint);
                put_bytes(&mut to, &done.result);
            }
        }
        to.into()
    }

    /// Reads the compact binary form.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn decode(mut from: Bytes) -> Result<Self, DecodeError> {
        let version = get_u8(&mut from)?;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        let fencing = get_u64(&mut from)?;
        let fencing_kept_until_ms = get_u64(&mut from)?;
        let counter = match get_flag(&mut from, "the counter's flag")? {
            false => None,
            true => Some(Counter {
                count: get_u64(&mut from)?,
                expires_at_ms: get_u64(&mut from)?,
            }),
        };
        let hold = match get_u8(&mut from)? {
            ABSENT => Hold::Absent,
            IN_PROGRESS => Hold::InProgress(InProgress {
                mode: match get_flag(&mut from, "the mode")? {
                    false => Mode::Record,
                    true => Mode::SetNx,
                },
                takeover: get_flag(&mut from, "the takeover flag")?,
                deadline_ms: get_u64(&mut from)?,
                token: get_token(&mut from)?,
                fingerprint: get_bytes(&mut from)?,
            }),
            DONE => Hold::Done(Done {
                expires_at_ms: get_u64(&mut from)?,
                token: get_token(&mut from)?,
                fingerprint: get_bytes(&mut from)?,
                result: get_bytes(&mut from)?,
            }),
            _ => return Err(DecodeError::Damaged { what: "the state" }),
        };
        if !from.is_empty() {
            return Err(DecodeError::Damaged { what: "too long" });
        }
        Ok(Self {
            fencing,
            fencing_kept_until_ms,
            hold,
            counter,
        })
    }
}

fn get_flag(from: &mut Bytes, what: &'static str) -> Result<bool, DecodeError> {
    match get_u8(from)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Damaged { what }),
    }
}

fn get_token(from: &mut Bytes) -> Result<String, DecodeError> {
    String::from_utf8(get_bytes(from)?.into())
        .map_err(|_| DecodeError::Damaged { what: "the token" })
}
