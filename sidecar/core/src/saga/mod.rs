//! Sagas: a process over several services completes, or is undone.
//!
//! A [`Definition`] says what the steps are. What is durably known about one saga is its
//! [`Start`](event::Start) and its [`Event`](event::Event)s, folded into a
//! [`Record`], whose one function says which event may follow which. The
//! owner runs a [`Saga`]: a record, and the calls that are under way. Any process can take a
//! saga over from its record ([`recovery`]), and the epoch of the [`Lease`](owner::Lease)
//! keeps the former owner from recording anything.
//!
//! # What is guaranteed
//!
//! 1. **No call goes out before the event that announces it is durable.** Attempt numbers
//!    grow; after a change of owners the last attempt may go out once more under its number.
//! 2. **A saga ends completed or undone, or waits visibly for a person.** It is completed
//!    when every step has succeeded (in TCC: is confirmed), or a person said that it was
//!    done by hand.
//! 3. **An undo is not sent before the outcome of its action is recorded**: as succeeded, as
//!    refused, or as unknown for ever. It is not sent while this owner has a call of that
//!    action under way, and not before everything that depends on the step is undone.
//! 4. **A saga is not undone before every action that may have had, or may still have, an
//!    effect has an undo that the participant has acknowledged** (or a person has answered
//!    for). That is every action that was ever announced, with two exceptions: one whose only
//!    call was refused, and one for which the definition says that there is nothing to undo.
//!    An action that was refused after another call of it had been sent is undone, and so is
//!    one of which nobody knows the outcome.
//! 5. **When the pivot has succeeded (in TCC: when all tries have), nothing is undone any
//!    more**, and what follows is repeated until it succeeds or waits for a person. A pivot
//!    whose outcome nobody knows is undone if there is an undo for it, and otherwise waits
//!    for a person: it is never guessed.
//!
//! # What participants must do for it
//!
//! The calls of a saga cross networks that keep, repeat and reorder them. An action may arrive
//! after its undo was answered. Therefore a participant
//!
//! - does the effect of one idempotency key at most once, and answers its repetitions alike,
//!   refusals included: a refusal says that no call with this key has had an effect or will;
//! - treats an undo whose action it has never seen as done, **and remembers it**, so that the
//!   action does nothing when it comes later;
//! - lets an undo that comes while its action is still at work wait, or answers that it is
//!   ongoing.
//!
//! The barrier of the SDK does all three inside of the participant's database transaction.
//! With such participants an undone saga has no effect, then and for ever, whatever calls are
//! still on their way, and a completed one has the effect of every step exactly once. Without
//! them, an action that arrives after its undo stays.

pub mod codec;
pub mod definition;
pub mod event;
mod id;
pub mod ledger;
mod machine;
pub mod mapping;
mod outcome;
pub mod owner;
pub mod record;
pub mod recovery;
#[cfg(test)]
mod tests;

pub use definition::Definition;
pub use id::{check_id, child_id};
pub use machine::{Call, Effect, Error, Input, Saga};
pub use outcome::{ErrorClass, Outcome};
pub use record::Record;

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
