use bytes::Bytes;

use super::Undecided;

/// What one check found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The local transaction committed.
    Commit {
        /// What the application wrote into its fence row, or answered, for the messages
        /// whose body comes from there.
        payload: Option<Bytes>,
    },
    /// The local transaction did not commit and never will.
    Rollback,
    /// Somebody was asked and could not tell; ask again later.
    Unknown {
        /// Why not.
        why: Undecided,
    },
    /// Nobody could be asked; this is no attempt.
    Unreachable {
        /// Why not.
        why: Undecided,
    },
}

impl From<Undecided> for Answer {
    fn from(why: Undecided) -> Self {
        if why.is_unreachable() {
            Self::Unreachable { why }
        } else {
            Self::Unknown { why }
        }
    }
}

impl From<Result<Self, Undecided>> for Answer {
    fn from(result: Result<Self, Undecided>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}
