use bytes::Bytes;

/// How a call of a participant ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done. HTTP 2xx, gRPC OK.
    Success {
        /// What it gave back; empty when it gave nothing.
        output: Bytes,
    },
    /// The participant refuses for a reason of the business, and says with it that no call
    /// with this idempotency key has had an effect, or will have one. HTTP 409, gRPC
    /// ABORTED.
    Failure {
        /// The participant's words.
        message: String,
    },
    /// There is no outcome yet, or nobody knows it: anything else.
    Unsettled {
        /// In which way.
        class: ErrorClass,
        /// What was seen.
        message: String,
        /// The participant asks not to be called before so many milliseconds have passed;
        /// at most the policy's cap is granted.
        retry_after_ms: Option<u64>,
    },
}

/// In which way an outcome is unsettled. Each may have a retry policy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// No connection.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The participant has too much to do. HTTP 429 and 503, gRPC RESOURCE_EXHAUSTED and
    /// UNAVAILABLE.
    Overloaded,
    /// An answer that is none: garbage, or larger than allowed.
    BadAnswer,
    /// Every other error.
    Internal,
    /// The participant has begun and is not done. HTTP 202 and 425; the `Participant` service
    /// has an answer of its own for it.
    Ongoing,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Overloaded,
        Self::BadAnswer,
        Self::Internal,
        Self::Ongoing,
    ];

    /// The number that stands for it in binary forms.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unreachable => 0,
            Self::TimedOut => 1,
            Self::Overloaded => 2,
            Self::BadAnswer => 3,
            Self::Internal => 4,
            Self::Ongoing => 5,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.number() == number)
    }

    /// The name in definition files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::BadAnswer => "bad_answer",
            Self::Internal => "internal",
            Self::Ongoing => "ongoing",
        }
    }
}
