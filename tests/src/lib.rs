//! What the tests of all crates share.

pub mod servers;
pub mod sidecar;
