//! Real nodes: how a cluster comes into being, what it refuses, and what it survives.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

mod failover;
mod groups;
mod load;
mod members;
mod refusing;
mod repair;
mod transactions;
