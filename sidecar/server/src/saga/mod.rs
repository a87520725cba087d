//! Sagas: carrying out what the machine of `outrigger-core` decides.

pub mod participant;
