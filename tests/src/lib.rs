//! What the tests of all crates share.

pub mod chaos;
pub mod checker;
pub mod servers;
pub mod sidecar;
