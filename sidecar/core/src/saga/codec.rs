//! What the binary forms of definitions, events and records have in common.

use bytes::{BufMut as _, Bytes};

use crate::wire::{Short, get_bytes, get_u8, get_u32, get_u64, put_bytes};

/// Why stored bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("{what} has version {version}, this program reads {known}")]
    Version {
        /// Of what.
        what: &'static str,
        /// The version found.
        version: u8,
        /// The version that this program reads.
        known: u8,
    },
    /// The bytes are damaged.
    #[error("{what} is damaged")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
    /// The bytes end too early.
    #[error("too short")]
    Short,
    /// Bytes are left over.
    #[error("{bytes} bytes too long")]
    Long {
        /// How many.
        bytes: usize,
    },
}

impl From<Short> for DecodeError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

pub(super) fn damaged(what: &'static str) -> DecodeError {
    DecodeError::Damaged { what }
}

pub(super) fn check_version(
    from: &mut Bytes,
    what: &'static str,
    known: u8,
) -> Result<(), DecodeError> {
    let version = get_u8(from)?;
    if version == known {
        return Ok(());
    }
    Err(DecodeError::Version {
        what,
        version,
        known,
    })
}

pub(super) fn check_end(from: &Bytes) -> Result<(), DecodeError> {
    match from.len() {
        0 => Ok(()),
        bytes => Err(DecodeError::Long { bytes }),
    }
}

pub(super) fn put_text(to: &mut Vec<u8>, text: &str) {
    put_bytes(to, text.as_bytes());
}

pub(super) fn get_text(from: &mut Bytes, what: &'static str) -> Result<String, DecodeError> {
    String::from_utf8(get_bytes(from)?.into()).map_err(|_| damaged(what))
}

pub(super) fn get_flag(from: &mut Bytes, what: &'static str) -> Result<bool, DecodeError> {
    match get_u8(from)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(damaged(what)),
    }
}

pub(super) fn put_count(to: &mut Vec<u8>, count: usize) {
    to.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

/// A count of things that take at least one byte each, so that a damaged count never
/// reserves more memory than there are bytes.
pub(super) fn get_count(from: &mut Bytes) -> Result<usize, DecodeError> {
    let count = get_u32(from)? as usize;
    if count > from.len() {
        return Err(DecodeError::Short);
    }
    Ok(count)
}

pub(super) fn put_option<T>(to: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => to.put_u8(0),
        Some(value) => {
            to.put_u8(1);
            put(to, value);
        }
    }
}

pub(super) fn get_option<T>(
    from: &mut Bytes,
    what: &'static str,
    get: impl FnOnce(&mut Bytes) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    get_flag(from, what)?.then(|| get(from)).transpose()
}

pub(super) fn get_optional_u64(
    from: &mut Bytes,
    what: &'static str,
) -> Result<Option<u64>, DecodeError> {
    get_option(from, what, |from| Ok(get_u64(from)?))
}
