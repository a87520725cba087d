//! Sagas: their definitions as the outside world writes them, and carrying out what the
//! machine of `outrigger-core` decides.

pub mod convert;
pub mod definition_file;
pub mod executor;
mod keeper;
mod messages;
pub mod participant;
mod remote;
mod running;
mod service;
pub(crate) mod shown;
pub mod store;
mod wire;

pub(crate) use keeper::{CALL_BYTES_MAX, Keeper};
pub(crate) use running::Running;
pub(crate) use service::SagaService;
