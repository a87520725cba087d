//! What a user sees: real sidecar processes, real sockets, real databases, real kills.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

mod bad_input;
mod check_back;
mod consuming;
mod crash;
mod discovery;
mod durability;
mod harness;
mod lifecycle;
mod passed_over;
mod sagas;
