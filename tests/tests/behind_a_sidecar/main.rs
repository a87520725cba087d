//! An application, its sidecar without a log, and a cluster behind it: real processes.

mod check_back;
mod failover;
mod harness;
mod unreachable;
