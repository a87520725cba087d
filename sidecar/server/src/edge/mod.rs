//! The gRPC edge: turns requests into commands for the log and outcomes into answers.

mod consumer;
mod guard;
pub mod status;

pub use self::guard::GuardService;
