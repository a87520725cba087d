use std::sync::Arc;

use outrigger_core::placement::Placement;
use outrigger_core::saga::ledger;

use crate::apply::Expiry as _;
use crate::blocking::Blocking;
use crate::command::{Command, Durability};
use crate::directory::DirectoryError;
use crate::home::Home;
use crate::logs::Logs;
use crate::options::{Options, OptionsError};
use crate::raft::{Node, NodeError};
use crate::state::{Shared, State, StateError};
use crate::submit::{Aftermath, Pending, SubmitError};
use crate::wal::{Reader, WalOpenError};
#[cfg(feature = "simulation")]
use crate::wal::{Wal, WalOptions};

/// Why a log cannot be opened. Whatever the reason, nothing that was acknowledged is lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is outside its limits.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The write-ahead log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalOpenError),
    /// Derived state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The Raft group does not come up.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Opening was interrupted.
    #[error("opening the log was interrupted")]
    Interrupted,
}

/// How a log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node_id: u64,
    /// Its cluster.
    pub cluster_id: String,
    /// The leader's term, which grows with every election.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<u64>,
    /// The last entry that was applied.
    pub applied_index: u64,
    /// The last entry that is durable on this node.
    pub durable_index: u64,
    /// Bytes of commands that were not answered yet.
    pub in_flight_bytes: u64,
    /// True while new messages are refused for lack of disk space.
    pub disk_full: bool,
    /// How much of the file system is used, in percent.
    pub disk_used_percent: u64,
    /// What the write-ahead log takes on the disk.
    pub log_bytes: u64,
    /// Entries of the log up to this one are not needed any more.
    pub floor_index: u64,
    /// Transactions without a verdict, parked ones included.
    pub unresolved: u64,
    /// Transactions that were set aside for a person.
    pub parked: u64,
    /// Messages that wait until they are due.
    pub delayed: u64,
    /// Messages that wait until they are forwarded to other data groups.
    pub outgoing: u64,
    /// Sagas, their definitions and owners.
    pub sagas: ledger::Counts,
}

/// The log of one data group on a node. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    group: u32,
    node: Node<State>,
    in_flight_bytes_max: u64,
    shared: Arc<Shared>,
    home: Arc<Home>,
    aftermath: Arc<Aftermath>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("node_id", &self.inner.home.node_id)
            .field("data_group", &self.inner.group)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in a directory that has one data group, or begins a new one there; as
    /// [`Logs::open`] does for any number of them.
    ///
    /// # Errors
    ///
    /// As [`Logs::open`], and when more than one data group is asked for.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        options.check_single()?;
        Logs::open(options).await?.into_single()
    }

    /// The same with the write-ahead log on any disk.
    #[cfg(test)]
    pub(crate) async fn open_on(
        options: Options,
        disk: Arc<dyn crate::wal::disk::Disk>,
    ) -> Result<Self, OpenError> {
        options.check_single()?;
        Logs::open_on(options, disk).await?.into_single()
    }

    /// The same with the write-ahead log as it is opened by the caller.
    #[cfg(feature = "simulation")]
    pub(crate) async fn open_with(
        options: Options,
        open_wal: impl FnOnce(&std::path::Path, WalOptions) -> Result<Arc<Wal>, WalOpenError>
        + Send
        + 'static,
    ) -> Result<Self, OpenError> {
        options.check_single()?;
        Logs::open_with(options, open_wal).await?.into_single()
    }

    /// Starts the node of a data group.
    pub(crate) async fn start(
        group: u32,
        options: &Options,
        state: State,
        floors: Arc<crate::floor::Floors>,
        home: &Arc<Home>,
    ) -> Result<Self, NodeError> {
        let shared = state.shared();
        let options = options.node(group, home);
        let in_flight_bytes_max = options.submit.in_flight_bytes_max;
        let wal = Arc::clone(&home.wal);
        let node = Node::start(options, wal, state, floors).await?;
        let inner = Inner {
            group,
            node,
            in_flight_bytes_max,
            shared,
            home: Arc::clone(home),
            aftermath: Arc::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The number of this data group, from 0 on.
    #[must_use]
    pub fn data_group(&self) -> u32 {
        self.inner.group
    }

    /// Which data group has what.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.inner.home.placement
    }

    /// Takes commands. They are written and applied in this order, and after those of earlier
    /// calls. Each command stands for itself: a refused one does not undo the others.
    ///
    /// # Errors
    ///
    /// When nothing was taken, because too much is on its way, a command is too large, the
    /// disk is full, or the log is closed.
    pub fn submit(&self, commands: Vec<Command>) -> Result<Pending, SubmitError> {
        self.inner.node.submit(commands)
    }

    /// Takes commands as [`Log::submit`] does, and answers as soon as they have reached a level:
    /// the outcomes are [`Outcome::Accepted`](crate::Outcome::Accepted) or
    /// [`Outcome::Replicated`](crate::Outcome::Replicated) then, and what becomes of the
    /// commands later is counted in `aftermath`. They may have reached a higher one by then.
    /// Only sends can be answered early; when there is anything else among the commands, all
    /// of them are answered when they are synced.
    ///
    /// # Errors
    ///
    /// As with [`Log::submit`].
    pub fn submit_at(
        &self,
        commands: Vec<Command>,
        durability: Durability,
        aftermath: &Arc<Aftermath>,
    ) -> Result<Pending, SubmitError> {
        self.inner.node.submit_at(commands, durability, aftermath)
    }

    /// What became of everything that was answered early, as long as it is counted as a part
    /// of this.
    #[must_use]
    pub fn aftermath(&self) -> &Arc<Aftermath> {
        &self.inner.aftermath
    }

    /// How the log is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let node = self.inner.node.status();
        let counts = self.inner.shared.counts();
        Status {
            node_id: self.inner.home.node_id,
            cluster_id: self.inner.home.cluster_id.clone(),
            term: node.term,
            leader: node.leader,
            applied_index: node.applied_index.unwrap_or(0),
            durable_index: node.durable_index.unwrap_or(0),
            in_flight_bytes: node.in_flight_bytes,
            disk_full: node.no_space,
            disk_used_percent: node.disk_used_percent,
            log_bytes: node.log_bytes,
            floor_index: self.inner.shared.floor(),
            unresolved: counts.unresolved,
            parked: counts.parked,
            delayed: counts.delayed,
            outgoing: counts.outgoing,
            sagas: counts.sagas,
        }
    }

    /// Bytes of commands that were not answered yet.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.inner.node.in_flight_bytes()
    }

    /// The number of such bytes above which more commands are refused.
    #[must_use]
    pub fn in_flight_bytes_max(&self) -> u64 {
        self.inner.in_flight_bytes_max
    }

    /// Stops taking commands, answers those that were taken, hands leadership over to another
    /// node when there is one, and writes a checkpoint. The last data group of the node to end
    /// closes the files and gives the data directory up. Other clones answer that the log is
    /// closed.
    pub async fn shutdown(self) {
        self.inner.node.stop().await;
        self.inner.home.leave(self.inner.group).await;
    }

    /// The Raft group.
    pub(crate) fn node(&self) -> &Node<State> {
        &self.inner.node
    }

    /// The state, for reading.
    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// The write-ahead log of all data groups.
    #[cfg(test)]
    pub(crate) fn wal(&self) -> &Arc<crate::wal::Wal> {
        &self.inner.home.wal
    }

    /// Where to do what blocks on the disk.
    pub(crate) fn blocking(&self) -> Blocking {
        self.inner.home.blocking
    }

    /// For reading message bodies.
    pub(crate) fn reader(&self) -> &Reader {
        self.inner.home.wal.reader()
    }
}
