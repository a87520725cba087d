use std::fmt;

/// A place in the write-ahead log.
///
/// The position of an entry is where its body starts. A part of the body is found by adding
/// its offset inside the body, because a body never spans two segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The sequence number of the segment, from 1.
    pub segment: u32,
    /// Bytes from the beginning of the segment.
    pub offset: u32,
}

impl Position {
    /// The place this many bytes further on in the same segment.
    #[must_use]
    pub fn plus(self, bytes: u32) -> Self {
        Self {
            segment: self.segment,
            offset: self.offset.saturating_add(bytes),
        }
    }

    /// Both parts in one number, which orders as positions do.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.offset)
    }

    /// The reverse of [`Position::to_u64`].
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        Self {
            segment: (number >> 32) as u32,
            offset: number as u32,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
