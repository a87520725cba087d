//! The Outrigger sidecar: a log store, check-back, guards and their gRPC edge in one
//! process.

pub mod bench;
pub mod check_back;
pub mod cli;
mod clock;
pub mod cluster;
pub mod config;
pub mod delivery;
pub mod edge;
pub mod forward;
mod gauges;
pub mod guards;
pub mod http;
mod options;
pub mod route;
pub mod saga;
pub mod serve;
