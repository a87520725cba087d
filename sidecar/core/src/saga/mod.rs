//! Sagas: a process over several services completes, or is undone.

pub mod codec;
pub mod definition;
pub mod mapping;
mod outcome;

pub use definition::Definition;
pub use outcome::{ErrorClass, Outcome};

/// The place of a step in its definition.
pub type StepIndex = u16;

/// What a step is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its action; in TCC its try.
    Action,
    /// Its undo; in TCC its cancel.
    Undo,
    /// Its confirm.
    Confirm,
}
