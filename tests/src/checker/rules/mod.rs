//! The promises, one file for each kind.

pub(super) mod consuming;
pub(super) mod order;
pub(super) mod presence;
pub(super) mod replicas;
pub(super) mod transactions;
