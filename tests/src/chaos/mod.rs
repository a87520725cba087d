//! Real nodes, real load, and whatever can go wrong with a machine.

pub mod power;
