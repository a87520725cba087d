//! The few primitives that the log's binary forms are made of: LEB128 numbers, fixed
//! little-endian hashes, and byte strings behind their length.
//!
//! Reading never trusts a length: nothing is allocated for more than what is there.

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field, at {at}")]
    Truncated {
        /// Where reading stopped.
        at: usize,
    },
    /// There is more than the fields take.
    #[error("{left} bytes are left over")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A newer or unknown format.
    #[error("format version {found} is not known, the newest known is {newest}")]
    Version {
        /// The version found.
        found: u8,
        /// The newest that this program knows.
        newest: u8,
    },
    /// A tag or flag that means nothing.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A number that does not fit its field.
    #[error("{field} does not fit")]
    Overflow {
        /// The field.
        field: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A part in another crate's form cannot be read.
    #[error("{field} cannot be read")]
    Part {
        /// The field.
        field: &'static str,
    },
}

/// Appends a number, short when it is small.
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a hash, at full width.
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a hash, at full width.
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an id, at full width.
pub(crate) fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads fields one after the other and knows where it is.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Everything must have been read.
    pub(crate) fn finish(&self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { left }),
        }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(CodecError::Truncated { at: self.at })?;
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let at = self.at;
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| CodecError::Truncated { at })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, CodecError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(CodecError::Overflow { field });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::Overflow { field })
    }

    pub(crate) fn number_u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        u32::try_from(self.number(field)?).map_err(|_| CodecError::Overflow { field })
    }

    /// A count of elements that take at least `each_bytes_min`, so that no more are
    /// announced than can be there.
    pub(crate) fn count(
        &mut self,
        field: &'static str,
        each_bytes_min: usize,
    ) -> Result<usize, CodecError> {
        let count = self.number(field)?;
        let fits = self.left() / each_bytes_min.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= fits => Ok(count),
            _ => Err(CodecError::Truncated { at: self.at }),
        }
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.count(field, 1)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| CodecError::Text { field })
    }
}
