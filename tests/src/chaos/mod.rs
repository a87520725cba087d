//! Real nodes, real load, and whatever can go wrong with a machine.
//!
//! A [`World`](world::World) has the nodes as processes, a proxy in front of every port that
//! nodes use among themselves, and a disk for each that forgets what was not synced. The
//! [`load`] writes everything that applications attempt and are told into a
//! [`Journal`](journal::Journal); [`faults`] break things and heal them; when all is over
//! [`observe`] reads every replica and the [`checker`](crate::checker) compares.

pub mod faults;
pub mod journal;
pub mod load;
pub mod network;
pub mod node;
pub mod observe;
pub mod options;
pub mod power;
mod quiet;
pub mod run;
pub mod sidecar;
pub mod world;
