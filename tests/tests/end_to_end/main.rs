//! What a user sees: real sidecar processes, real sockets, real databases, real kills.

mod bad_input;
mod check_back;
mod consuming;
mod crash;
mod harness;
mod lifecycle;
