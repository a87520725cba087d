use bytes::Bytes;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran now, and its effect is committed.
    Done(Bytes),
    /// It had been done before; nothing ran. With the output of that time.
    Repeated(Bytes),
    /// There was nothing to undo: the action has never had an effect here, and will have
    /// none, however late it arrives.
    NullUndo,
    /// The undo has been here before the action, or at the same time: nothing ran.
    TooLate,
    /// The participant cannot do this, and nothing has changed: a business failure.
    Refused {
        /// Why, for whoever runs the saga.
        reason: Bytes,
        /// True when it had been refused before, and nothing ran now.
        repeated: bool,
    },
}

impl Outcome {
    /// The HTTP status that tells the saga: 200 for success, 409 for a business failure.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Done(_) | Self::Repeated(_) | Self::NullUndo => 200,
            Self::TooLate | Self::Refused { .. } => 409,
        }
    }

    /// What to answer in the body: the output, or the reason of a refusal.
    pub fn into_body(self) -> Bytes {
        match self {
            Self::Done(output) | Self::Repeated(output) => output,
            Self::Refused { reason, .. } => reason,
            Self::NullUndo | Self::TooLate => Bytes::new(),
        }
    }
}
