//! Mistakes that the tests must notice.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// Calls without waiting until that is durable.
    CallsTooEarly,
    /// Takes events of which nobody knows what became of them as recorded.
    TakesUnknownAsDone,
    /// Does not look at what others did.
    ForgetsActs,
    /// Says that it has heard what got lost.
    HearsTooMuch,
    /// Lets nobody through a lane that was closed.
    KeepsLanesClosed,
}

impl Planted {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::CallsTooEarly,
        Self::TakesUnknownAsDone,
        Self::ForgetsActs,
        Self::HearsTooMuch,
        Self::KeepsLanesClosed,
    ];
}
