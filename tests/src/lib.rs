//! What the tests of all crates share.

pub mod chaos;
pub mod checker;
pub mod cluster;
pub mod half_messages;
pub mod participant;
pub mod servers;
pub mod sidecar;
pub mod simulation;
pub mod waiting;
