//! A small deterministic world: nodes that run the real log, on simulated disks, over a
//! simulated network, in virtual time.
//!
//! Every node has a runtime of its own with a paused clock, and the world lets one after the
//! other run for a millisecond of virtual time. So a node can be paused, its clocks can run
//! wrong, and a crash takes all of its tasks with it at once. Everything that is left to chance
//! comes from one seed.

mod disk;
mod host;
mod network;
mod plant;
mod trace;
mod watch;
mod world;

pub use disk::{DiskFaults, PowerLoss, SimulatedDisk};
pub use host::{EPOCH_MS, Pace};
pub use network::{Break, Weather};
pub use plant::{Plant, is_planted};
pub use trace::Trace;
pub use watch::OrderedWatch;
pub use world::{World, WorldOptions, poll_now};
