//! What the Raft group drives: the state that follows from the log.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::command::Outcome;
use crate::floor::{FloorFile, NewFloor};
use crate::raft::{LogId, Membership, StoredMembership};
use crate::state::Limits;

/// A committed entry with a batch of commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied<'a> {
    /// Term and index.
    pub(crate) log_id: LogId,
    /// The encoded batch.
    pub(crate) body: &'a Bytes,
}

/// The state machine under the Raft group.
///
/// It must be deterministic: no clock, no randomness, no iteration over hash maps. It is
/// called for every entry in order of the index, without gaps, from one task at a time.
pub(crate) trait Apply: Send + 'static {
    /// A captured checkpoint.
    type Checkpoint: Checkpoint;

    /// The last entry that has been applied.
    fn applied(&self) -> Option<LogId>;

    /// The last membership that has been applied, as the state machine stores it.
    fn membership(&self) -> StoredMembership;

    /// Applies a batch and answers each of its commands, in order.
    ///
    /// An error stops the node: it means that the entry cannot be understood, and going on
    /// would make this replica differ from the others.
    fn apply(&mut self, entry: Applied<'_>) -> io::Result<Vec<Outcome>>;

    /// Takes note of an entry without content.
    fn apply_blank(&mut self, log_id: LogId);

    /// Takes note of a change of the membership.
    fn apply_membership(&mut self, log_id: LogId, membership: Membership);

    /// The bounds that are in force.
    fn limits(&self) -> Limits;

    /// When the earliest delayed message is due. The leader then proposes to release it.
    fn next_due_ms(&self) -> Option<u64>;

    /// The time of the last applied batch, below which no later batch is stamped.
    fn last_stamp_ms(&self) -> u64;

    /// True once a reader has found damage. Only a fresh start can make the state again.
    fn is_damaged(&self) -> bool;

    /// How many records are in memory only, because no checkpoint has taken them yet.
    fn unwritten_records(&self) -> u64;

    /// Captures what a checkpoint would write, cheaply; nothing when there is nothing new.
    ///
    /// Never called again before [`Apply::end_checkpoint`].
    fn begin_checkpoint(&mut self) -> Option<Self::Checkpoint>;

    /// The same, also when there is nothing new; nothing only before the first entry.
    fn begin_checkpoint_anyway(&mut self) -> Option<Self::Checkpoint>;

    /// The captured checkpoint was written, or could not be: then everything that it was to
    /// write belongs to the next one, whatever of it did get onto the disk.
    fn end_checkpoint(&mut self, written: bool);

    /// For asking what has expired, without holding up what is being applied.
    fn expiry(&self) -> Arc<dyn Expiry>;

    /// Reads a whole state from a file and prepares it on disk, beside the running one.
    fn import(&self) -> Import;

    /// Takes the state that was imported in the place of the running one.
    fn install(&mut self) -> io::Result<()>;

    /// Forgets everything, on disk too, so that the whole log is applied again.
    fn reset(&mut self) -> io::Result<()>;
}

/// Derived state captured at one entry, to be written beside the running state machine.
pub(crate) trait Checkpoint: Send + 'static {
    /// The last entry that the checkpoint contains. The log must be durable up to here before
    /// the checkpoint is written, so that derived state is never ahead of the log.
    fn applied(&self) -> LogId;

    /// Writes and syncs; blocking. When a floor checkpoint is asked for, the whole state is
    /// written into it as well, after everything else.
    fn write(self, floor: Option<NewFloor>) -> io::Result<Written>;
}

/// Reads a whole state from a file; blocking.
pub(crate) type Import = Box<dyn FnOnce(FloorFile) -> io::Result<()> + Send>;

/// A checkpoint that is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Entries up to this one are not needed any more, as the checkpoint knows it.
    pub(crate) floor: u64,
}

/// What has expired.
pub(crate) trait Expiry: Send + Sync {
    /// Entries of the log up to this index are not needed any more.
    fn floor(&self) -> u64;

    /// How far the floor could be raised, `upto` at most, if only messages that became visible
    /// at this instant or later were kept. May block on the disk.
    fn expirable(&self, upto: u64, visible_since_ms: u64) -> io::Result<u64>;

    /// The same if only messages were kept that some consumer group has not acknowledged. A
    /// group that has acknowledged nothing in a queue keeps all of it, and so does nobody.
    fn expirable_consumed(&self, upto: u64) -> io::Result<u64>;
}
