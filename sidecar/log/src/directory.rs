//! The data directory: who uses it, and whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_core::placement::{self, Placement};
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
/// Where each data group has a directory, named by its number.
const GROUPS: &str = "groups";
/// In there, where what follows from the log is.
const DERIVED: &str = "derived";
/// And where whole states are that the log can be continued from when its beginning is gone.
const FLOORS: &str = "floors";
/// Where an older version, which had one data group, kept the two.
const OLDER: [(&str, &str); 2] = [("derived", DERIVED), ("derived-floor", FLOORS)];
/// What is set aside together when the log is damaged.
pub(crate) const SET_ASIDE: [&str; 4] = [WAL, GROUPS, OLDER[0].0, OLDER[1].0];

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
    /// It has another number of data groups, which never changes.
    #[error("the data directory {path} has {recorded} data groups, not {given}")]
    OtherGroups {
        /// The directory.
        path: PathBuf,
        /// How many are recorded in it.
        recorded: u32,
        /// How many were asked for.
        given: u32,
    },
    /// There cannot be so many data groups.
    #[error(transparent)]
    Groups(#[from] placement::Error),
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

/// A data directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    cluster_id: String,
    node_id: u64,
    instance: u128,
}

impl Directory {
    /// Takes a directory, making it and the directories inside when they do not exist. A new
    /// one becomes the node's, in the cluster asked for. Without one, a node that is `one_of`
    /// several has to be taken into one first, any other makes one of its own.
    ///
    /// It is ours until the file that is given out with it is dropped, or the process ends,
    /// however it ends: whoever writes there last must hold it.
    pub(crate) fn open(
        path: &Path,
        cluster_id: Option<&str>,
        node_id: u64,
        placement: Placement,
        one_of: bool,
    ) -> Result<(Self, File), DirectoryError> {
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
        identity.join(path, &cluster_id, placement)?;
        let directory = Self {
            path: path.to_owned(),
            cluster_id,
            node_id,
            instance: identity.instance,
        };
        directory.make(placement)?;
        Ok((directory, lock))
    }

    /// Makes the directories inside, as far as they do not exist.
    fn make(&self, placement: Placement) -> Result<(), DirectoryError> {
        let mut changed = make(&self.wal())? | self.take_over()?;
        for group in 0..placement.groups() {
            let made = make(&self.derived(group))? | make(&self.floors(group))?;
            if made {
                sync(&self.group(group))?;
            }
            changed |= made;
        }
        if changed {
            sync(&self.path.join(GROUPS))?;
            sync(&self.path)?;
        }
        Ok(())
    }

    /// Moves what an older version has left to where it belongs now.
    fn take_over(&self) -> Result<bool, DirectoryError> {
        let first = self.group(0);
        let mut moved = false;
        for (older, name) in OLDER {
            let (from, to) = (self.path.join(older), first.join(name));
            if from.is_dir() && !to.exists() {
                make(&first)?;
                context("moving", &from, std::fs::rename(&from, &to))?;
                sync(&first)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// What belongs to a data group.
    fn group(&self, group: u32) -> PathBuf {
        self.path.join(GROUPS).join(group.to_string())
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(crate) fn instance(&self) -> u128 {
        self.instance
    }

    /// Where the write-ahead log is.
    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join(WAL)
    }

    /// Where what follows from it is for a data group.
    pub(crate) fn derived(&self, group: u32) -> PathBuf {
        self.group(group).join(DERIVED)
    }

    /// Where floor checkpoints of a data group are.
    pub(crate) fn floors(&self, group: u32) -> PathBuf {
        self.group(group).join(FLOORS)
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

/// Makes a directory; false when it exists.
fn make(directory: &Path) -> Result<bool, DirectoryError> {
    let exists = directory.is_dir();
    context("creating", directory, std::fs::create_dir_all(directory))?;
    Ok(!exists)
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
        let open = |cluster, node| Directory::open(&path, cluster, node, Placement::SINGLE, false);
        let first = open(Some("shop"), 1).unwrap();
        let error = open(Some("shop"), 1).unwrap_err();
        assert!(matches!(error, DirectoryError::InUse { .. }), "{error}");
        drop(first);
        let error = open(Some("bank"), 1).unwrap_err();
        assert!(
            matches!(error, DirectoryError::OtherCluster { .. }),
            "{error}"
        );
        let error = open(None, 2).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherNode { .. }), "{error}");
        assert_eq!(open(None, 1).unwrap().0.cluster_id(), "shop");
        std::fs::write(path.join("identity"), "something else").unwrap();
        let error = open(None, 1).unwrap_err();
        assert!(matches!(error, DirectoryError::Identity { .. }), "{error}");
    }

    #[test]
    fn a_directory_without_a_cluster_gets_its_own() {
        let root = tempfile::tempdir().unwrap();
        let open = |cluster: Option<&str>| {
            let path = root.path();
            let (own, _) = Directory::open(path, cluster, 1, Placement::SINGLE, false).unwrap();
            own.cluster_id().to_owned()
        };
        let own = open(None);
        assert!(!own.is_empty());
        assert_eq!(open(Some(&own)), own);
    }

    #[test]
    fn the_number_of_data_groups_never_changes() {
        let root = tempfile::tempdir().unwrap();
        let open = |path: &Path, groups| {
            let placement = Placement::new(groups).unwrap();
            Directory::open(path, None, 1, placement, false)
        };
        let refused = |path: &Path, given, recorded| {
            let error = open(path, given).unwrap_err();
            let named = matches!(error, DirectoryError::OtherGroups { recorded: r, given: g, .. }
                if (r, g) == (recorded, given));
            assert!(named, "{error}");
        };
        let three = root.path().join("three");
        drop(open(&three, 3).unwrap());
        refused(&three, 1, 3);
        refused(&three, 4, 3);
        for group in 0..3 {
            assert!(three.join(format!("groups/{group}/derived")).is_dir());
        }
        drop(open(&three, 3).unwrap());

        // What an older version has left has one, and is found where it was.
        let older = root.path().join("older");
        std::fs::create_dir_all(older.join("derived")).unwrap();
        std::fs::create_dir_all(older.join("derived-floor")).unwrap();
        std::fs::write(older.join("derived/state"), "old").unwrap();
        std::fs::write(older.join("derived-floor/one"), "old").unwrap();
        let identity = "outrigger-data 2\nnode 1\ninstance 07\ncluster shop\n";
        std::fs::write(older.join("identity"), identity).unwrap();
        refused(&older, 2, 1);
        drop(open(&older, 1).unwrap());
        for file in ["groups/0/derived/state", "groups/0/floors/one"] {
            assert!(older.join(file).is_file(), "{file}");
        }
    }
}
