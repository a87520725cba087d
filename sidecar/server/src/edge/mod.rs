//! The gRPC edge: turns requests into commands for the log and outcomes into answers.

pub mod status;
