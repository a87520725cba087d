use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// The longest id of a saga, in bytes; more than that of a saga nested as deep as any may be,
/// which has the names of its steps in it.
pub const SAGA_ID_MAX_BYTES: usize = 512;
/// The longest name of a step, in bytes.
pub const STEP_MAX_BYTES: usize = 255;

/// What a saga asks of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Do the step.
    Action,
    /// Undo the action.
    Undo,
    /// Reserve (TCC).
    Try,
    /// Make the reservation final (TCC).
    Confirm,
    /// Give the reservation back (TCC).
    Cancel,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Action,
        Self::Undo,
        Self::Try,
        Self::Confirm,
        Self::Cancel,
    ];

    /// Its name: `action`, `undo`, `try`, `confirm` or `cancel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Undo => "undo",
            Self::Try => "try",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }

    /// The phase that this one undoes: the action for an undo, the try for a cancel.
    pub fn undoes(self) -> Option<Self> {
        match self {
            Self::Undo => Some(Self::Action),
            Self::Cancel => Some(Self::Try),
            Self::Action | Self::Try | Self::Confirm => None,
        }
    }

    /// Whether a refusal is remembered. Those that come first are; the others have to
    /// succeed in the end, so they may be called again.
    pub(super) fn remembers_refusals(self) -> bool {
        match self {
            Self::Action | Self::Try => true,
            Self::Undo | Self::Confirm | Self::Cancel => false,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Phase {
    type Err = InvalidCall;

    fn from_str(name: &str) -> Result<Self, InvalidCall> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.name() == name)
            .ok_or_else(|| InvalidCall::UnknownPhase {
                value: name.chars().take(32).collect(),
            })
    }
}

/// Why something is not a call of a saga.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCall {
    /// It must not be empty.
    #[error("{field} is empty")]
    Empty {
        /// `saga_id` or `step`.
        field: &'static str,
    },
    /// It is too long.
    #[error("{field} has {bytes} bytes, at most {max_bytes} are allowed")]
    TooLong {
        /// `saga_id` or `step`.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max_bytes: usize,
    },
    /// It has a control character.
    #[error("{field} has the control character {character:?}")]
    ControlCharacter {
        /// `saga_id` or `step`.
        field: &'static str,
        /// The first one.
        character: char,
    },
    /// There is no such phase.
    #[error("phase {value:?} is none of action, undo, try, confirm, cancel")]
    UnknownPhase {
        /// Its beginning.
        value: String,
    },
    /// The request does not say what it has to say.
    #[error("{name} is missing")]
    MissingHeader {
        /// The header.
        name: &'static str,
    },
    /// A number is needed.
    #[error("{name} is {value:?}, which is no number that it can have")]
    NotANumber {
        /// The header.
        name: &'static str,
        /// Its beginning.
        value: String,
    },
}

/// A call of a saga: which step of which saga, and what it asks.
///
/// Two calls are the same when saga, step and phase are the same; the attempt says only
/// which of them was sent later.
///
/// ```
/// use outrigger_sdk::barrier::{Call, Phase};
///
/// let call = Call::new("saga-17", "reserve-stock", Phase::Action)?.attempt(2);
/// assert_eq!(call.to_string(), "saga-17/reserve-stock/action");
/// # Ok::<(), outrigger_sdk::barrier::InvalidCall>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    saga_id: String,
    step: String,
    phase: Phase,
    attempt: u32,
    saga_started_at: Option<SystemTime>,
}

impl Call {
    /// The first attempt of a call.
    ///
    /// # Errors
    ///
    /// When the saga's id or the step's name is empty, longer than [`SAGA_ID_MAX_BYTES`] or
    /// [`STEP_MAX_BYTES`], or has control characters.
    pub fn new(
        saga_id: impl Into<String>,
        step: impl Into<String>,
        phase: Phase,
    ) -> Result<Self, InvalidCall> {
        let (saga_id, step) = (saga_id.into(), step.into());
        check("saga_id", &saga_id, SAGA_ID_MAX_BYTES)?;
        check("step", &step, STEP_MAX_BYTES)?;
        Ok(Self {
            saga_id,
            step,
            phase,
            attempt: 0,
            saga_started_at: None,
        })
    }

    /// Sets which attempt this is. A recorded refusal holds for all attempts up to the one
    /// that was refused. A larger number says that whoever runs the saga does not hold the
    /// refusal for the last word: its answer was lost, or a person has it tried again. Leave
    /// it out when whoever calls does not number its attempts: then a refusal holds for ever.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets when the saga began, by the clock of whoever runs it. Then a call of a saga that
    /// is older than the [longest](super::Barrier::longest_saga) is an error, because rows of
    /// it may have been collected.
    #[must_use]
    pub fn saga_started_at(mut self, at: SystemTime) -> Self {
        self.saga_started_at = Some(at);
        self
    }

    /// The saga.
    pub fn saga_id(&self) -> &str {
        &self.saga_id
    }

    /// The step of the saga.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// What is asked.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Which attempt it is; 0 unless it was set.
    pub fn attempt_number(&self) -> u32 {
        self.attempt
    }

    /// The same step of the same saga, asked something else; of the same attempt.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// The age of the saga, when it is known.
    pub(super) fn saga_age(&self) -> Option<Duration> {
        self.saga_started_at?.elapsed().ok()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.saga_id, self.step, self.phase)
    }
}

fn check(field: &'static str, value: &str, max_bytes: usize) -> Result<(), InvalidCall> {
    if value.is_empty() {
        return Err(InvalidCall::Empty { field });
    }
    if value.len() > max_bytes {
        return Err(InvalidCall::TooLong {
            field,
            bytes: value.len(),
            max_bytes,
        });
    }
    match value.chars().find(|character| character.is_control()) {
        Some(character) => Err(InvalidCall::ControlCharacter { field, character }),
        None => Ok(()),
    }
}
