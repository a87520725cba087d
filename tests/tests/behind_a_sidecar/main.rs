//! An application, its sidecar without a log, and a cluster behind it: real processes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

mod check_back;
mod failover;
mod harness;
mod sagas;
mod unreachable;
