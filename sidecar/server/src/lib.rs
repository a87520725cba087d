//! The Outrigger sidecar: a log store, check-back, guards and their gRPC edge in one
//! process.

pub mod check_back;
mod clock;
pub mod delivery;
pub mod edge;
pub mod guards;
