//! Sagas: their definitions as the outside world writes them, and carrying out what the
//! machine of `outrigger-core` decides.

pub mod convert;
pub mod definition_file;
pub mod executor;
pub mod participant;
pub mod store;
