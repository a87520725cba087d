//! The state that follows from the log: topics, transactions, consumer groups, guards.
//!
//! One task applies entries ([`State`]); any number of threads read ([`Shared`]).
//! Between checkpoints everything that changed is in memory; a checkpoint captures it
//! cheaply and writes it beside the running state machine.

mod catalog;
mod checkpoint;
mod consuming;
mod delayed;
mod digest;
mod expiry;
mod floor;
mod forwarded;
mod groups;
mod guards;
mod half_messages;
mod incoming;
mod limits;
mod machine;
mod meta;
mod outgoing;
mod overlay;
mod producers;
mod record;
mod restore;
mod sagas;
mod shared;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;

pub use groups::ConsumerGroup;
pub use limits::Limits;
pub use topics::Topic;
pub use transactions::{AuditAction, AuditEntry};

pub(crate) use checkpoint::Checkpoint;
pub(crate) use outgoing::OutgoingMessage;
pub(crate) use shared::{Shared, TransactionRecord};
pub(crate) use transactions::StoredMessage;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use tokio::sync::watch;

use crate::apply::{Applied, Apply, Expiry, Import};
use crate::codec::CodecError;
use crate::command::{Batch, Outcome};
use crate::derived::DerivedError;
use crate::queue_index::IndexError;
use crate::raft::{LogId, Membership, StoredMembership};
use checkpoint::Captured;
use machine::Machine;
use meta::Meta;

/// Why the state cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Derived state cannot be read or written.
    #[error(transparent)]
    Derived(#[from] DerivedError),
    /// The queue index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An entry of the log cannot be understood.
    #[error("entry {index}: {source}")]
    Entry {
        /// Its index in the log.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
}

impl StateError {
    /// True when derived state is damaged or too old, so that it has to be made again from the
    /// log.
    fn is_damage(&self) -> bool {
        match self {
            Self::Derived(
                DerivedError::Record { .. }
                | DerivedError::OlderFormat { .. }
                | DerivedError::Index(
                    IndexError::Short { .. }
                    | IndexError::Damaged { .. }
                    | IndexError::Noted { .. },
                ),
            )
            | Self::Index(
                IndexError::Short { .. } | IndexError::Damaged { .. } | IndexError::Noted { .. },
            ) => true,
            Self::Derived(DerivedError::Store(error)) => match error {
                fjall::Error::Io(_) | fjall::Error::Locked => false,
                // The store's errors may grow; all others say that files are damaged.
                _ => true,
            },
            Self::Derived(
                DerivedError::Io { .. }
                | DerivedError::NewerFormat { .. }
                | DerivedError::Index(IndexError::Io { .. }),
            )
            | Self::Index(IndexError::Io { .. })
            | Self::Entry { .. } => false,
        }
    }
}

/// Applies entries. There is one, in the hands of the Raft group.
pub(crate) struct State {
    shared: Arc<Shared>,
    directory: PathBuf,
    /// Of a state in which no entry has set any.
    begin_with: Limits,
    applied: Option<LogId>,
    membership: StoredMembership,
    checkpointed: Option<LogId>,
    /// What the checkpoint that is being written took out of the running state.
    captured: Option<(LogId, Arc<Captured>)>,
}

impl State {
    /// Opens derived state. When it is damaged it is set aside, and everything is to be
    /// applied again.
    pub(crate) fn open(directory: &Path) -> Result<Self, StateError> {
        Self::beginning_with(directory, Limits::default())
    }

    /// The same with other limits, as long as no entry has set any.
    pub(crate) fn beginning_with(directory: &Path, begin_with: Limits) -> Result<Self, StateError> {
        let catalog = Arc::default();
        let more_outgoing = watch::Sender::default();
        let open = || Machine::open(directory, &begin_with, &catalog, &more_outgoing);
        let opened = match open() {
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "derived state is made again from the log");
                set_aside(directory)?;
                open()
            }
            opened => opened,
        };
        let (machine, meta) = opened?;
        Ok(Self {
            shared: Arc::new(Shared::new(machine, catalog, more_outgoing)),
            directory: directory.to_owned(),
            begin_with,
            applied: meta.applied,
            membership: meta.membership,
            checkpointed: meta.applied,
            captured: None,
        })
    }

    /// What readers read.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn machine(&self) -> RwLockWriteGuard<'_, Machine> {
        write(self.shared.machine())
    }

    fn start_over(&mut self) -> Result<(), StateError> {
        self.go_on_with(|directory| Ok(set_aside(directory)?))
    }

    /// Goes on with what `exchange` puts in the place of the directory. The old files are
    /// closed before: whoever had them open could write into those of the new state. Readers
    /// wait so long.
    fn go_on_with(
        &mut self,
        exchange: impl FnOnce(&Path) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let shared = Arc::clone(&self.shared);
        let mut machine = write(shared.machine());
        machine.store.close();
        machine.files.retire();
        exchange(&self.directory)?;
        let (fresh, meta) = Machine::open(
            &self.directory,
            &self.begin_with,
            shared.catalog(),
            shared.more_outgoing(),
        )?;
        let old = std::mem::replace(&mut *machine, fresh);
        drop(machine);
        drop(old);
        self.applied = meta.applied;
        self.membership = meta.membership;
        self.checkpointed = meta.applied;
        self.captured = None;
        Ok(())
    }
}

fn write(machine: &RwLock<Machine>) -> RwLockWriteGuard<'_, Machine> {
    machine.write().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing is deleted on a suspicion: the latest discarded state is kept beside the new one.
fn set_aside(directory: &Path) -> Result<(), DerivedError> {
    let aside = directory.with_extension("discarded");
    let moved = || -> io::Result<()> {
        if aside.try_exists()? {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::rename(directory, &aside)
    };
    moved().map_err(|source| DerivedError::Io {
        path: aside.display().to_string(),
        source,
    })
}

impl Apply for State {
    type Checkpoint = Checkpoint;

    fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn membership(&self) -> StoredMembership {
        self.membership.clone()
    }

    fn apply(&mut self, entry: Applied<'_>) -> io::Result<Vec<Outcome>> {
        let batch = Batch::decode(entry.body).map_err(|source| {
            io::Error::other(StateError::Entry {
                index: entry.log_id.index,
                source,
            })
        })?;
        let index = entry.log_id.index;
        let outcomes = self.machine().apply(index, batch);
        let outcomes = outcomes.map_err(io::Error::other)?;
        self.applied = Some(entry.log_id);
        Ok(outcomes)
    }

    fn apply_blank(&mut self, log_id: LogId) {
        self.applied = Some(log_id);
    }

    fn apply_membership(&mut self, log_id: LogId, membership: Membership) {
        self.applied = Some(log_id);
        self.membership = StoredMembership::new(Some(log_id), membership);
    }

    fn limits(&self) -> Limits {
        self.shared.read(|machine| machine.limits.clone())
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.shared.read(|machine| machine.delayed.next_due_ms())
    }

    fn last_stamp_ms(&self) -> u64 {
        self.shared.read(|machine| machine.stamp_ms)
    }

    fn is_damaged(&self) -> bool {
        self.shared.read(|machine| machine.files.is_damaged())
    }

    fn unwritten_records(&self) -> u64 {
        self.shared.read(Machine::unwritten_records)
    }

    fn begin_checkpoint(&mut self) -> Option<Checkpoint> {
        match self.checkpointed == self.applied {
            true => None,
            false => self.begin_checkpoint_anyway(),
        }
    }

    fn begin_checkpoint_anyway(&mut self) -> Option<Checkpoint> {
        let applied = self.applied?;
        // Left by a writer that did not live to tell how it went.
        self.end_checkpoint(false);
        let membership = self.membership.clone();
        let mut machine = self.machine();
        let meta = Meta {
            applied: Some(applied),
            membership,
            stamp_ms: machine.stamp_ms,
            floor: machine.floor,
            next_transaction_sequence: machine.transactions.next_sequence(),
            next_delayed_sequence: machine.delayed.next_sequence(),
            newest_transaction: machine.transactions.newest(),
            limits: machine.limits.clone(),
        };
        let captured = Arc::new(Captured::take(&mut machine));
        let checkpoint = Checkpoint::new(&machine, Arc::clone(&captured), applied, meta);
        drop(machine);
        self.captured = Some((applied, captured));
        Some(checkpoint)
    }

    fn end_checkpoint(&mut self, written: bool) {
        let Some((applied, captured)) = self.captured.take() else {
            return;
        };
        if !written {
            captured.put_back(&mut self.machine());
            return;
        }
        self.checkpointed = Some(applied);
        let mut machine = self.machine();
        let done = (
            machine.transactions.end_checkpoint(),
            machine.guards.finish(),
            machine.sagas.end_changes(),
        );
        drop(machine);
        drop((done, captured));
    }

    fn expiry(&self) -> Arc<dyn Expiry> {
        self.shared()
    }

    fn import(&self) -> Import {
        let directory = self.directory.clone();
        Box::new(move |file| floor::import(&directory, &file))
    }

    fn install(&mut self) -> io::Result<()> {
        self.go_on_with(floor::swap).map_err(io::Error::other)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.start_over().map_err(io::Error::other)
    }
}
