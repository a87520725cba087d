//! Floor checkpoints: files with a whole state, each as of one entry of the log.
//!
//! When the beginning of the log is removed, the state can no longer be made from the log
//! alone: it is continued from a floor checkpoint, by a node that is new or whose derived
//! state is damaged. One can be used as soon as no message in it needs its entries any more;
//! so it has no places in queues, which begin where they end in it.

mod file;
mod floors;
mod header;

pub(crate) use file::{FloorFile, NewFloor};
pub(crate) use floors::Floors;
pub(crate) use header::FloorHeader;
