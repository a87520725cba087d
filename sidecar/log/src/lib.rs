//! The log store: a write-ahead log, the Raft group that orders it, and the state derived
//! from it.
//!
//! Everything that must survive is a command in the log. Derived state (queue index,
//! transactions, consumer groups, guards) follows from the log alone and is rebuilt from it.

mod apply;
mod blocking;
pub mod cluster;
mod codec;
pub mod command;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_sync;
mod derived;
mod directory;
mod floor;
pub mod forwarding;
mod home;
mod log;
mod logs;
mod options;
mod outgoing;
mod place;
mod queue_index;
mod raft;
mod reading;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod state;
mod submit;
mod transaction;
mod wal;

pub use blocking::Blocking;
pub use command::{
    Command, ConsumerGroupConfig, ConsumerGroupId, Destination, Durability, ForwardedMessage,
    NewMessage, Outcome, ProducerSequence, Refusal, StartFrom, TopicId, TransactionId,
};
pub use derived::DerivedError;
pub use directory::DirectoryError;
pub use log::{Log, OpenError, Status};
pub use logs::Logs;
pub use options::{Options, OptionsError};
pub use outgoing::Outgoing;
#[doc(no_inline)]
pub use outrigger_core::half_message::Verdict;
#[doc(no_inline)]
pub use outrigger_core::placement::Placement;
pub use place::Place;
pub use queue_index::{IndexEntry, IndexError};
pub use raft::NodeError;
pub use state::{AuditAction, AuditEntry, ConsumerGroup, Limits, StateError, Topic};
pub use submit::{Aftermath, Pending, REPLICATED_SYNC_MS_MAX, SubmitError, WallClock};
pub use transaction::{Transaction, TransactionMessage, Unresolved};
pub use wal::{ReadError, WalOpenError};
