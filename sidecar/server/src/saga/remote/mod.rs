//! The sagas of all data groups, asked for at their leaders, from any process.

mod definitions;
mod options;
mod port_store;

pub(crate) use options::Options;
pub(crate) use port_store::{Found, PortStore};
