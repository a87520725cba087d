//! The data directory: who uses it, and whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::Identity;

const LOCK: &str = "LOCK";
/// How often taking a directory is tried.
const LOCK_TRIES_MAX: u32 = 20;
/// How long it is waited in between.
const LOCK_PAUSE_MS: u64 = 10;
/// Where the write-ahead log is.
const WAL: &str = "wal";
/// Where what follows from it is.
const DERIVED: &str = "derived";
/// Where whole states are that the log can be continued from when its beginning is gone.
const FLOORS: &str = "derived-floor";
/// What is set aside together when the log is damaged.
pub(crate) const SET_ASIDE: [&str; 3] = [WAL, DERIVED, FLOORS];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it open.
    #[error("the data directory {path} is in use by another process")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another cluster.
    #[error("the data directory {path} belongs to cluster {found:?}, not to {expected:?}")]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster recorded in it.
        found: String,
        /// The cluster asked for.
        expected: String,
    },
    /// It belongs to another node.
    #[error("the data directory {path} belongs to node {found}, not to {expected}")]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node recorded in it.
        found: u64,
        /// The node asked for.
        expected: u64,
    },
    /// The file that says whose it is cannot be understood.
    #[error("{path} is damaged or from a newer version: {what}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The node was not taken into a cluster yet.
    #[error("the node of {path} waits to be taken into a cluster")]
    Waiting {
        /// The directory.
        path: PathBuf,
    },
    /// The log was damaged and is set aside.
    #[error(
        "the log of {path} was damaged and is set aside; its cluster has to take the node back, \
         or another node has to replace it"
    )]
    Repairing {
        /// The directory.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A data directory that is ours until its lock is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    cluster_id: String,
    node_id: u64,
    instance: u128,
    lock: File,
}

impl Directory {
    /// Takes a directory, making it and the directories inside when they do not exist. A new
    /// one becomes the node's, in the cluster asked for. Without one, a node that is `one_of`
    /// several has to be taken into one first, any other makes one of its own.
    pub(crate) fn open(
        path: &Path,
        cluster_id: Option<&str>,
        node_id: u64,
        one_of: bool,
    ) -> Result<Self, DirectoryError> {
        context("creating", path, std::fs::create_dir_all(path))?;
        let lock = lock(path)?;
        let mut identity = Identity::read_or_make_locked(path, node_id)?;
        if identity.repairing {
            return Err(DirectoryError::Repairing {
                path: path.to_owned(),
            });
        }
        let cluster_id = match (cluster_id, &identity.cluster_id) {
            (Some(expected), _) => expected.to_owned(),
            (None, Some(found)) => found.clone(),
            (None, None) if one_of => {
                return Err(DirectoryError::Waiting {
                    path: path.to_owned(),
                });
            }
            (None, None) => Uuid::new_v4().to_string(),
        };
        identity.join(path, &cluster_id)?;
        let mut made = false;
        for name in SET_ASIDE {
            let inner = path.join(name);
            made |= !inner.is_dir();
            context("creating", &inner, std::fs::create_dir_all(&inner))?;
        }
        if made {
            sync(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            cluster_id,
            node_id,
            instance: identity.instance,
            lock,
        })
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(crate) fn instance(&self) -> u128 {
        self.instance
    }

    /// What keeps the directory ours: whoever writes there last must hold it. The system gives
    /// it up when the process ends, however it ends.
    pub(crate) fn into_lock(self) -> File {
        self.lock
    }

    /// Where the write-ahead log is.
    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join(WAL)
    }

    /// Where what follows from it is.
    pub(crate) fn derived(&self) -> PathBuf {
        self.path.join(DERIVED)
    }

    /// Where floor checkpoints are.
    pub(crate) fn floors(&self) -> PathBuf {
        self.path.join(FLOORS)
    }

    /// A number by which files know that they belong here.
    pub(crate) fn owner(&self) -> u64 {
        xxh3_64(format!("{}/{}", self.cluster_id, self.node_id).as_bytes())
    }
}

/// Takes the directory for this process, until the file is dropped. A process that is just
/// ending, or starting another one, may hold it for a moment longer than it seems.
pub(crate) fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = context("opening", &path, options.open(&path))?;
    let mut tries = LOCK_TRIES_MAX;
    loop {
        tries -= 1;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tries > 0 => {
                std::thread::sleep(Duration::from_millis(LOCK_PAUSE_MS));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::InUse {
                    path: directory.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return context("locking", &path, Err(source)),
        }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> Result<(), DirectoryError> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    context("syncing", directory, synced)
}

/// Says what failed, and on what.
pub(crate) fn context<T>(
    action: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, DirectoryError> {
    result.map_err(|source| DirectoryError::Io {
        action,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_and_one_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = Directory::open(&path, Some("shop"), 1, false).unwrap();
        let error = Directory::open(&path, Some("shop"), 1, false).unwrap_err();
        assert!(matches!(error, DirectoryError::InUse { .. }), "{error}");
        drop(first);
        let error = Directory::open(&path, Some("bank"), 1, false).unwrap_err();
        assert!(
            matches!(error, DirectoryError::OtherCluster { .. }),
            "{error}"
        );
        let error = Directory::open(&path, None, 2, false).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherNode { .. }), "{error}");
        assert_eq!(
            Directory::open(&path, None, 1, false).unwrap().cluster_id(),
            "shop"
        );
        std::fs::write(path.join("identity"), "something else").unwrap();
        let error = Directory::open(&path, None, 1, false).unwrap_err();
        assert!(matches!(error, DirectoryError::Identity { .. }), "{error}");
    }

    #[test]
    fn a_directory_without_a_cluster_gets_its_own() {
        let root = tempfile::tempdir().unwrap();
        let own = Directory::open(root.path(), None, 1, false)
            .unwrap()
            .cluster_id()
            .to_owned();
        assert!(!own.is_empty());
        assert_eq!(
            Directory::open(root.path(), Some(&own), 1, false)
                .unwrap()
                .cluster_id(),
            own
        );
    }
}
