//! Runs of the replicated log in a world that follows from one seed.
//!
//! A run: nodes start, applications use them, things go wrong; then everything works again,
//! progress is demanded, and what applications were told is compared with what the nodes have.
//! In the end all nodes lose power once more, and must have the same after it.
//!
//! Some worlds have sagas: processes with the real executor in them, which are killed, stopped
//! and cut off as nodes are, participants that answer late, twice or not at all, and people who
//! interfere.

mod call;
mod clients;
mod directed;
mod faults;
mod replicas;
mod run;
mod sagas;
mod scene;
mod verdict;

pub use run::run;
pub use sagas::Figures;
pub use verdict::{Options, Verdict};
