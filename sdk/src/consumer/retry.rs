use std::{fmt, time::Duration};

/// Why a handler did not finish with a message: it is delivered again later.
///
/// Made from any error by `?`; the sidecar then waits as the group's retry table says.
/// [`Retry::after`] and [`Retry::delayed_by`] ask for another wait.
///
/// ```
/// use std::time::Duration;
/// use outrigger_sdk::consumer::Retry;
///
/// fn handle(body: &str) -> Result<(), Retry> {
///     let number: i64 = body.parse()?;
///     if number > 100 {
///         return Err(Retry::after(Duration::from_secs(5)));
///     }
///     Ok(())
/// }
/// assert_eq!(handle("many").unwrap_err().delay(), None);
/// assert_eq!(handle("101").unwrap_err().delay(), Some(Duration::from_secs(5)));
/// ```
pub struct Retry {
    delay: Option<Duration>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Retry {
    /// Not now, but after `delay`.
    pub fn after(delay: Duration) -> Self {
        Self {
            delay: Some(delay),
            cause: None,
        }
    }

    /// The same failure with another wait.
    #[must_use]
    pub fn delayed_by(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The wait that was asked for; `None` means the group's retry table.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }
}

impl<E> From<E> for Retry
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn from(cause: E) -> Self {
        Self {
            delay: None,
            cause: Some(cause.into()),
        }
    }
}

// Not an `Error` itself, because then it could not be made from every error.
impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, self.delay) {
            (Some(cause), _) => fmt::Display::fmt(cause, f),
            (None, Some(delay)) => write!(f, "asked to be tried again after {delay:?}"),
            (None, None) => f.write_str("asked to be tried again"),
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("delay", &self.delay)
            .field("cause", &self.cause)
            .finish()
    }
}
