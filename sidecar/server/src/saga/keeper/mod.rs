//! The leader's side: the sagas of one data group for those who carry sagas out.

mod kept;
mod log;
mod service;

pub(crate) use kept::Kept;
pub(crate) use service::{CALL_BYTES_MAX, COMMANDS_MAX, Keeper};
