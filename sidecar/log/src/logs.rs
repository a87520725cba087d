use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use outrigger_core::placement::Placement;
use tokio::sync::mpsc;

use crate::cluster::Purpose;
use crate::directory::{Directory, DirectoryError};
use crate::floor::Floors;
use crate::home::Home;
use crate::log::{Log, OpenError};
use crate::options::Options;
use crate::raft::settle;
use crate::state::State;
use crate::wal::disk::Disk;
use crate::wal::{OnFatal, OsDisk, Wal, WalOpenError, WalOptions};

/// Answers to a peer that asks for a data group that there is not: none.
const NO_ANSWERS: usize = 1;

/// The data groups of a node. They share one write-ahead log, and its syncs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    placement: Placement,
    groups: Arc<[Log]>,
}

impl Logs {
    /// Opens all data groups of a directory, or begins them there. Alone, it returns when this
    /// node leads all of them and everything that was acknowledged before has been applied. One
    /// of several nodes returns when it can be contacted: there may be no leaders yet.
    ///
    /// # Errors
    ///
    /// When the directory is in use, belongs to another node or cluster or has another number
    /// of data groups, when what is in it is damaged, or when the file system fails.
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
        let opened = options.blocking.run(move || open_home(&opening, open_wal));
        let opened = opened.await.map_err(|_| OpenError::Interrupted)?;
        let (home, directory) = opened?;
        let (home, directory) = (&home, &directory);
        let options = &options;
        // All are looked at before any of them runs: when one cannot go on, the directory is
        // still in nobody's hands but ours.
        let read = try_join_all((0..home.placement.groups()).map(async |group| {
            let (derived, floors) = (directory.derived(group), directory.floors(group));
            let reading = move || open_group(&derived, &floors);
            let read = options.blocking.run(reading).await;
            let (mut state, floors) = read.map_err(|_| OpenError::Interrupted)??;
            let floors = Arc::new(floors);
            let settled = settle(group, &home.wal, &mut state, &floors, options.blocking).await;
            settled
                .map(|_| (group, state, floors))
                .map_err(OpenError::from)
        }));
        // Side by side, so that they share their first syncs too.
        let groups = try_join_all(read.await?.into_iter().map(async |(group, state, floors)| {
            let started = Log::start(group, options, state, floors, home).await;
            started.map_err(OpenError::from)
        }));
        Ok(Self {
            placement: home.placement,
            groups: groups.await?.into(),
        })
    }

    /// One data group.
    #[must_use]
    pub fn group(&self, group: u32) -> Option<&Log> {
        self.groups.get(usize::try_from(group).ok()?)
    }

    /// All data groups, in order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Log> + DoubleEndedIterator {
        self.groups.iter()
    }

    /// Which data group has what.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Serves a stream of frames that another node has opened through its
    /// [`Transport`](crate::cluster::Transport), as [`Log::serve_peer`] does, for the data group
    /// that the purpose names. When there is none, the stream ends at once.
    #[must_use]
    pub fn serve_peer(
        &self,
        from: u64,
        purpose: Purpose,
        frames: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Bytes> {
        match self.group(purpose.group) {
            Some(log) => log.serve_peer(from, purpose, frames),
            None => {
                let (group, groups) = (purpose.group, self.placement.groups());
                tracing::warn!(from, group, groups, "a stream for an unknown data group");
                mpsc::channel(NO_ANSWERS).1
            }
        }
    }

    /// Shuts all data groups down side by side, as [`Log::shutdown`] does with one, and closes
    /// the files after the last one.
    pub async fn shutdown(self) {
        join_all(self.iter().cloned().map(Log::shutdown)).await;
    }

    /// The only data group.
    pub(crate) fn into_single(self) -> Result<Log, OpenError> {
        match &*self.groups {
            [single] => Ok(single.clone()),
            _ => Err(Options::not_single(self.placement.groups()).into()),
        }
    }
}

/// Everything that the data groups share.
fn open_home(
    options: &Options,
    open_wal: impl FnOnce(&Path, WalOptions) -> Result<Arc<Wal>, WalOpenError>,
) -> Result<(Arc<Home>, Directory), OpenError> {
    let placement = options.placement()?;
    let cluster_id = options.cluster_id.as_deref();
    let one_of = options.cluster.is_some();
    let (path, node_id) = (&options.data_dir, options.node_id);
    let (directory, lock) = Directory::open(path, cluster_id, node_id, placement, one_of)?;
    let wal = open_wal(&directory.wal(), options.wal(directory.owner()))?;
    if one_of {
        wal.replace_when_damaged();
    }
    wal.hold(lock);
    let home = Home {
        node_id,
        cluster_id: directory.cluster_id().to_owned(),
        instance: directory.instance(),
        placement,
        disk: Arc::new(options.disk_watch()),
        blocking: options.blocking,
        wal,
        inside: Home::all_inside(placement),
    };
    Ok((Arc::new(home), directory))
}

/// What one data group has for itself.
fn open_group(derived: &Path, floors: &Path) -> Result<(State, Floors), OpenError> {
    let state = State::open(derived)?;
    let floors = Floors::open(floors).map_err(|source| DirectoryError::Io {
        action: "reading",
        path: floors.to_owned(),
        source,
    })?;
    Ok((state, floors))
}

/// After a failed write or sync nobody can say what is on disk: only a fresh start, which
/// reads what is really there, may go on.
fn abort_on_fatal() -> OnFatal {
    Arc::new(|_: &io::Error| std::process::abort())
}
