use std::{fmt, str::FromStr};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

/// The version of a definition: a digest (XXH3, 128 bits) of its canonical encoding, written
/// as 32 hexadecimal digits. Equal content has one version, wherever and in whatever order
/// its steps were written. It tells contents apart, and is no defence against somebody who
/// looks for two contents with one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u128);

impl Version {
    pub(super) fn of(encoded: &Bytes) -> Self {
        Self(xxh3_128(encoded))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:032x}", self.0)
    }
}

/// Not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a version; 32 hexadecimal digits are")]
pub struct NotAVersion {
    /// What was read.
    pub text: String,
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok());
        number.flatten().map(Self).ok_or_else(|| NotAVersion {
            text: text.chars().take(64).collect(),
        })
    }
}
