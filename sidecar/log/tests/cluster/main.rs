//! Several nodes that keep one log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod groups;
mod harness;
mod leaders;
mod members;
mod repair;
