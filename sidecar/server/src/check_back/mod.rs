//! Check-back: finding out how a local transaction ended when nobody resolved its
//! half-message.
//!
//! Two ways to ask: the application's fence table ([`fence`]), which answers definitively
//! whether or not the application is alive, and the application itself ([`callback`]).
//! "Unknown" never decides anything, and no number of unknown answers ever does. Fence rows
//! that nobody can ask about any more are deleted ([`collect`]).

mod answer;
pub mod callback;
mod checkers;
pub mod collect;
mod error;
pub mod fence;
mod last_checks;
mod log;
mod options;
mod runner;
mod transaction_log;
mod undecided;

pub use answer::Answer;
pub use callback::{CallbackHub, CallbackOptions, Question};
pub use collect::{CollectOptions, Collector};
pub use error::Error;
pub use last_checks::LastChecks;
pub use options::{GroupOptions, Mode, Options};
pub use runner::{CheckBack, start, start_over};
pub use transaction_log::{NotRecorded, Oldest, TransactionLog, WaitingTransaction};
pub use undecided::Undecided;
