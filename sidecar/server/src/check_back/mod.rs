//! Check-back: finding out how a local transaction ended when nobody resolved its
//! half-message.
//!
//! Two ways to ask: the application's fence table ([`fence`]), which answers definitively
//! whether or not the application is alive, and the application itself ([`callback`]).
//! "Unknown" never decides anything, and no number of unknown answers ever does.

mod answer;
pub mod callback;
pub mod fence;
mod undecided;

pub use answer::Answer;
pub use callback::{CallbackHub, CallbackOptions, Question};
pub use undecided::Undecided;
