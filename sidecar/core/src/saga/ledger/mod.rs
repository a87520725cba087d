//! All sagas of one data group: what may be asked of them, and what is answered.

mod answer;
mod command;
mod view;

pub use answer::{Answer, Held, Refusal};
pub use command::{Command, OwnerId, Reported};
pub use view::{HistoryEntry, View};
