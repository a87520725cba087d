//! Carrying sagas out: an owner's machines, its calls, and its place in the log.
//!
//! An [`Executor`] is one loop that owns sagas. It tells every data group once a second that
//! it is alive and is given sagas that nobody alive owns; its [`Handle`] gives it new ones.
//! Each saga in its hands is a machine of `outrigger-core`; the executor does what the
//! machine asks for and tells it how that ended:
//!
//! - **Events** of many sagas go to the log together; one saga has at most one append under
//!   way. When nobody knows what became of it, the saga is read, and nothing happens to it
//!   before that is settled.
//! - **Calls** go out when the append that announces them was answered, through a *lane* for
//!   each host and port. A lane whose host cannot be reached lets nothing through and keeps
//!   nobody else waiting; who waits there has used up no attempt.
//! - **A saga that somebody else owns by now is dropped at once**, with everything that is
//!   under way for it: what comes back for it finds nobody.
//!
//! What is held in memory is bounded. Sagas that only wait (for a person, for their time, for
//! a host that is away) are put to sleep when it gets tight: their machine goes, and is made
//! again from what is recorded.
//!
//! The loop reads no clock and no randomness but those of its [`Surroundings`], and iterates
//! over nothing unordered, so that a simulation can run it.
//!
//! ```text
//! let (handle, executor) = Executor::new(store, participants, messages, options, surroundings);
//! let running = tokio::spawn(executor.run());
//! handle.start(definition, start).await?;
//! let settled = handle.wait("order-17", deadline).await?;
//! handle.drain(limit).await;     // gives everything back
//! running.await?;
//! ```

mod appending;
mod calling;
mod child;
mod delivering;
#[expect(clippy::module_inception, reason = "the main type of the module")]
mod executor;
mod gauges;
mod group;
mod handle;
mod lanes;
mod messages;
mod options;
mod ownership;
mod participants;
#[cfg(test)]
mod planted;
mod reading;
mod requests;
mod sagas;
mod stepping;
mod surroundings;
mod targets;
#[cfg(test)]
mod tests;

pub use executor::Executor;
pub use handle::{Failed, Handle, Started, Waited};
pub use messages::{Messages, NoMessages, Outgoing};
pub use options::Options;
pub use participants::Participants;
pub use surroundings::Surroundings;
