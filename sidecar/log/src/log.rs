use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::apply::Expiry as _;
use crate::command::{Command, Durability};
use crate::directory::{Directory, DirectoryError};
use crate::floor::Floors;
use crate::options::{Options, OptionsError};
use crate::raft::{Node, NodeError};
use crate::state::{Shared, State, StateError};
use crate::submit::{Aftermath, Pending, SubmitError};
use crate::wal::disk::Disk;
use crate::wal::{OnFatal, OsDisk, Reader, Wal, WalOpenError, WalOptions};

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
}

/// The log of a node. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node<State>,
    node_id: u64,
    cluster_id: String,
    in_flight_bytes_max: u64,
    shared: Arc<Shared>,
    reader: Reader,
    aftermath: Arc<Aftermath>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("node_id", &self.inner.node_id)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in a directory, or begins a new one there. Alone, it returns when this
    /// node leads and everything that was acknowledged before has been applied. One of several
    /// returns when it can be contacted: there may be no leader yet.
    ///
    /// # Errors
    ///
    /// When the directory is in use or belongs to another node or cluster, when what is in it
    /// is damaged, or when the file system fails.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_on(options, Arc::new(OsDisk)).await
    }

    /// The same with the write-ahead log on any disk.
    pub(crate) async fn open_on(options: Options, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let open_wal = |path: &Path, options| Wal::open(path, options, disk, abort_on_fatal());
        Self::open_with(options, |path, options| {
            open_wal(path, options).map(Arc::new)
        })
        .await
    }

    /// The same with the write-ahead log as it is opened by the caller.
    pub(crate) async fn open_with(
        options: Options,
        open_wal: impl FnOnce(&Path, WalOptions) -> Result<Arc<Wal>, WalOpenError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let opening = options.clone();
        let opened = options.blocking.run(move || open_files(&opening, open_wal));
        let opened = opened.await.map_err(|_| OpenError::Interrupted)?;
        let Files {
            cluster_id,
            instance,
            wal,
            state,
            floors,
        } = opened?;
        let shared = state.shared();
        let reader = wal.reader().clone();
        let node = Node::start(options.node(instance), wal, state, floors).await?;
        let inner = Inner {
            node,
            node_id: options.node_id,
            in_flight_bytes_max: options.in_flight_bytes_max,
            cluster_id,
            shared,
            reader,
            aftermath: Arc::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
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
            node_id: self.inner.node_id,
            cluster_id: self.inner.cluster_id.clone(),
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
    /// node when there is one, writes a checkpoint, closes the files, and gives the data
    /// directory up. Other clones answer that the log is closed.
    pub async fn shutdown(self) {
        self.inner.node.shutdown().await;
    }

    /// The Raft group.
    pub(crate) fn node(&self) -> &Node<State> {
        &self.inner.node
    }

    /// The state, for reading.
    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// For reading message bodies.
    pub(crate) fn reader(&self) -> &Reader {
        &self.inner.reader
    }
}

/// What is in a data directory.
struct Files {
    cluster_id: String,
    instance: u128,
    wal: Arc<Wal>,
    state: State,
    floors: Arc<Floors>,
}

fn open_files(
    options: &Options,
    open_wal: impl FnOnce(&Path, WalOptions) -> Result<Arc<Wal>, WalOpenError>,
) -> Result<Files, OpenError> {
    let cluster_id = options.cluster_id.as_deref();
    let one_of = options.cluster.is_some();
    let directory = Directory::open(&options.data_dir, cluster_id, options.node_id, one_of)?;
    let wal_options = options.wal(directory.owner());
    let wal = open_wal(&directory.wal(), wal_options)?;
    if one_of {
        wal.replace_when_damaged();
    }
    let state = State::open(&directory.derived())?;
    let floors = Floors::open(&directory.floors()).map_err(|source| DirectoryError::Io {
        action: "reading",
        path: directory.floors(),
        source,
    })?;
    let cluster_id = directory.cluster_id().to_owned();
    let instance = directory.instance();
    wal.hold(directory.into_lock());
    Ok(Files {
        cluster_id,
        instance,
        wal,
        state,
        floors: Arc::new(floors),
    })
}

/// After a failed write or sync nobody can say what is on disk: only a fresh start, which
/// reads what is really there, may go on.
fn abort_on_fatal() -> OnFatal {
    Arc::new(|_: &io::Error| std::process::abort())
}
