//! One suite per port, run on the fake and on every real implementation.

mod barrier;
mod fence;
mod guard;
