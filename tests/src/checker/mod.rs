//! Compares what applications were told with what the replicas have.
//!
//! Pure: a [`History`] of everything that was attempted, and every [`Replica`] as it was
//! found when all was quiet, make a [`Report`]. Whoever drives a cluster, with real processes
//! or in a simulated world, writes the history down and lets [`check`] judge it.
//!
//! A call that failed says nothing: its messages may be there or not. Only what was
//! acknowledged has to be there, and only what was attempted may be.

mod history;
mod replica;
mod report;
mod rules;
#[cfg(test)]
mod tests;

pub use history::{
    Ack, Decision, Delivery, History, Order, Outcome, Resolve, Send, Transaction,
    TransactionMessage,
};
pub use replica::{Applied, Place, Queue, QueueName, Replica, Stored};
pub use report::{Finding, Report, Violation};

/// Judges a run.
///
/// The replicas have to be quiet: nothing is being sent any more, and all of them have
/// applied the same entries.
pub fn check(history: &History, replicas: &[Replica]) -> Report {
    let mut report = Report::new(history, replicas);
    rules::presence::check(history, replicas, &mut report);
    rules::transactions::check(history, replicas, &mut report);
    rules::order::check(history, replicas, &mut report);
    rules::replicas::check(replicas, &mut report);
    rules::consuming::check(history, replicas, &mut report);
    report
}
