use std::fmt;

use bytes::Bytes;

use crate::transaction::Abort;

/// Why an effect did not happen.
///
/// Made from any error by `?`: that is a failure of which nothing is recorded, and the saga
/// calls again. [`Failure::refused`] is the other kind: a business failure, which is an
/// answer.
///
/// ```
/// use outrigger_sdk::barrier::Failure;
///
/// fn debit(balance: &str, amount: i64) -> Result<i64, Failure> {
///     let balance: i64 = balance.parse()?;
///     if balance < amount {
///         return Err(Failure::refused("not enough points"));
///     }
///     Ok(balance - amount)
/// }
/// assert!(matches!(debit("x", 1), Err(Failure::Failed(_))));
/// assert!(matches!(debit("0", 1), Err(Failure::Refused(reason)) if reason == "not enough points"));
/// ```
pub enum Failure {
    /// It cannot be done: the saga gives up and undoes. With the reason.
    Refused(Bytes),
    /// Something went wrong, and may go right next time.
    Failed(Abort),
}

impl Failure {
    /// A business failure: the saga gives up and undoes.
    pub fn refused(reason: impl Into<Bytes>) -> Self {
        Self::Refused(reason.into())
    }
}

impl<E: Into<Abort>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

// Not an `Error` itself, because then it could not be made from every error.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused: {}", String::from_utf8_lossy(reason)),
            Self::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}
