//! Sagas as people and applications see them.

mod history;
mod info;

pub(crate) use history::history;
pub(crate) use info::{info, kind, phase_from, phase_name, phase_to, steps};
