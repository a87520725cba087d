//! Mistakes that a simulation makes on purpose, to see whether they are noticed.

use std::cell::Cell;

/// A mistake in the rules of sagas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Events are recorded whatever epoch their sender has.
    EpochIgnored,
    /// Who takes a saga over gets the epoch of the owner before.
    EpochTwice,
    /// What others did is forgotten when a saga is read from the disk.
    UnseenForgotten,
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Makes this mistake on this thread from now on, or none.
pub fn set(plant: Option<Plant>) {
    PLANTED.set(plant);
}

/// Whether this mistake is to be made on this thread.
pub(crate) fn is_planted(plant: Plant) -> bool {
    PLANTED.get() == Some(plant)
}
