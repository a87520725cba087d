//! Calls of applications over several data groups.
//!
//! A cluster with several data groups has a leader for each. An application knows nothing of
//! them: it speaks the same protocol to any process, and the [`Router`] of that process takes
//! every call to the data groups that it concerns. Where things lie follows from their names
//! (`outrigger_core::placement`), so a router knows nothing that it could forget, and any
//! number of them work side by side.
//!
//! - A call for one topic, transaction or guard is passed on as it came, with its metadata
//!   and its deadline, and so is the answer. It waits and fails with its own data group only.
//! - Publish, Consume, CheckBack and Receive have a stream or a call for each data group.
//! - Lists and sums are asked of all of them.
//!
//! With one data group there is no router.

mod admin;
mod check_back;
mod consume;
mod failure;
mod fields;
mod home;
mod options;
mod pause;
mod publish;
mod receipt;
mod receive;
mod router;
mod settle;
mod standing;
#[cfg(test)]
mod tests;
mod unary;
mod way;
mod wire;

pub use options::Options;
pub use router::{Error, Router};
