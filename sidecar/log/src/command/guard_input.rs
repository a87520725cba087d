//! The binary form of one step of a guard.

use bytes::Bytes;
use outrigger_core::guard::{Input, Mode};

use crate::codec::{CodecError, Reader, put_bytes, put_number};

const ACQUIRE: u8 = 1;
const EXTEND: u8 = 2;
const COMPLETE: u8 = 3;
const RELEASE: u8 = 4;
const INCREMENT: u8 = 5;

/// Everything besides token, fingerprint and result, at most.
const FIXED_BYTES_MAX: usize = 48;

pub(super) fn encoded_bytes_max(input: &Input) -> usize {
    FIXED_BYTES_MAX
        + match input {
            Input::Acquire {
                token, fingerprint, ..
            } => token.len() + fingerprint.len(),
            Input::Extend { token, .. } | Input::Release { token } => token.len(),
            Input::Complete { token, result, .. } => token.len() + result.len(),
            Input::Increment { .. } => 0,
        }
}

pub(super) fn encode(out: &mut Vec<u8>, input: &Input) {
    match input {
        Input::Acquire {
            mode,
            token,
            fingerprint,
            lease_ms,
        } => {
            out.push(ACQUIRE);
            out.push(match mode {
                Mode::Record => 0,
                Mode::SetNx => 1,
            });
            put_bytes(out, token.as_bytes());
            put_bytes(out, fingerprint);
            put_number(out, *lease_ms);
        }
        Input::Extend { token, lease_ms } => {
            out.push(EXTEND);
            put_bytes(out, token.as_bytes());
            put_number(out, *lease_ms);
        }
        Input::Complete {
            token,
            result,
            ttl_ms,
        } => {
            out.push(COMPLETE);
            put_bytes(out, token.as_bytes());
            put_bytes(out, result);
            put_number(out, *ttl_ms);
        }
        Input::Release { token } => {
            out.push(RELEASE);
            put_bytes(out, token.as_bytes());
        }
        Input::Increment { ttl_ms } => {
            out.push(INCREMENT);
            put_number(out, *ttl_ms);
        }
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Input, CodecError> {
    match reader.u8()? {
        ACQUIRE => Ok(Input::Acquire {
            mode: match reader.u8()? {
                0 => Mode::Record,
                1 => Mode::SetNx,
                value => return Err(unknown("guard mode", value)),
            },
            token: token(reader)?,
            fingerprint: Bytes::copy_from_slice(reader.bytes("fingerprint")?),
            lease_ms: reader.number("lease_ms")?,
        }),
        EXTEND => Ok(Input::Extend {
            token: token(reader)?,
            lease_ms: reader.number("lease_ms")?,
        }),
        COMPLETE => Ok(Input::Complete {
            token: token(reader)?,
            result: Bytes::copy_from_slice(reader.bytes("result")?),
            ttl_ms: reader.number("ttl_ms")?,
        }),
        RELEASE => Ok(Input::Release {
            token: token(reader)?,
        }),
        INCREMENT => Ok(Input::Increment {
            ttl_ms: reader.number("ttl_ms")?,
        }),
        value => Err(unknown("guard input", value)),
    }
}

fn token(reader: &mut Reader<'_>) -> Result<String, CodecError> {
    reader.text("token").map(str::to_owned)
}

fn unknown(field: &'static str, value: u8) -> CodecError {
    CodecError::Unknown {
        field,
        value: u64::from(value),
    }
}
