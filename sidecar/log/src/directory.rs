//! The data directory: who uses it, and whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

const LOCK: &str = "LOCK";
const IDENTITY: &str = "identity";
const FORMAT: &str = "outrigger-data 1";

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
    lock: File,
}

impl Directory {
    /// Takes a directory, making it and the directories inside when they do not exist. A new
    /// one becomes the node's, in the cluster asked for, or in one of its own.
    pub(crate) fn open(
        path: &Path,
        cluster_id: Option<&str>,
        node_id: u64,
        inner: &[&str],
    ) -> Result<Self, DirectoryError> {
        context("creating", path, std::fs::create_dir_all(path))?;
        let lock = lock(path)?;
        let mut made = false;
        for name in inner {
            let inner = path.join(name);
            made |= !inner.is_dir();
            context("creating", &inner, std::fs::create_dir_all(&inner))?;
        }
        let identity = path.join(IDENTITY);
        let found = match std::fs::read_to_string(&identity) {
            Ok(text) => Some(parse(&identity, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return context("reading", &identity, Err(source)),
        };
        let (cluster_id, node_id) = match found {
            None => {
                let own = || Uuid::new_v4().to_string();
                let cluster_id = cluster_id.map_or_else(own, str::to_owned);
                write_identity(path, &cluster_id, node_id)?;
                made = true;
                (cluster_id, node_id)
            }
            Some(found) => check(path, found, cluster_id, node_id)?,
        };
        if made {
            sync(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            cluster_id,
            node_id,
            lock,
        })
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What keeps the directory ours: whoever writes there last must hold it. The system gives
    /// it up when the process ends, however it ends.
    pub(crate) fn into_lock(self) -> File {
        self.lock
    }

    /// A directory inside.
    pub(crate) fn inner(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A number by which files know that they belong here.
    pub(crate) fn owner(&self) -> u64 {
        xxh3_64(format!("{}/{}", self.cluster_id, self.node_id).as_bytes())
    }
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = context("opening", &path, options.open(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => context("locking", &path, Err(source)),
    }
}

fn check(
    path: &Path,
    (found_cluster, found_node): (String, u64),
    cluster_id: Option<&str>,
    node_id: u64,
) -> Result<(String, u64), DirectoryError> {
    if let Some(expected) = cluster_id.filter(|expected| *expected != found_cluster) {
        return Err(DirectoryError::OtherCluster {
            path: path.to_owned(),
            found: found_cluster,
            expected: expected.to_owned(),
        });
    }
    if found_node != node_id {
        return Err(DirectoryError::OtherNode {
            path: path.to_owned(),
            found: found_node,
            expected: node_id,
        });
    }
    Ok((found_cluster, found_node))
}

/// Three lines: the format, the cluster, the node.
fn parse(path: &Path, text: &str) -> Result<(String, u64), DirectoryError> {
    let damaged = |what| DirectoryError::Identity {
        path: path.to_owned(),
        what,
    };
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) {
        return Err(damaged("the first line does not name a known format"));
    }
    let cluster_id = lines.next().and_then(|line| line.strip_prefix("cluster "));
    let node_id = lines.next().and_then(|line| line.strip_prefix("node "));
    let cluster_id = cluster_id.ok_or_else(|| damaged("the cluster is missing"))?;
    let node_id = node_id
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| damaged("the node is missing"))?;
    Ok((cluster_id.to_owned(), node_id))
}

/// Written beside its place and renamed, so that it is there whole or not at all.
fn write_identity(directory: &Path, cluster_id: &str, node_id: u64) -> Result<(), DirectoryError> {
    let path = directory.join(IDENTITY);
    let unfinished = directory.join("identity.new");
    let written = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        write!(file, "{FORMAT}\ncluster {cluster_id}\nnode {node_id}\n")?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)
    };
    context("writing", &path, written())
}

fn sync(directory: &Path) -> Result<(), DirectoryError> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    context("syncing", directory, synced)
}

fn context<T>(
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
        let first = Directory::open(&path, Some("shop"), 1, &["inside"]).unwrap();
        let error = Directory::open(&path, Some("shop"), 1, &["inside"]).unwrap_err();
        assert!(matches!(error, DirectoryError::InUse { .. }), "{error}");
        drop(first);
        let error = Directory::open(&path, Some("bank"), 1, &[]).unwrap_err();
        assert!(
            matches!(error, DirectoryError::OtherCluster { .. }),
            "{error}"
        );
        let error = Directory::open(&path, None, 2, &[]).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherNode { .. }), "{error}");
        assert_eq!(
            Directory::open(&path, None, 1, &[]).unwrap().cluster_id(),
            "shop"
        );
        std::fs::write(path.join(IDENTITY), "something else").unwrap();
        let error = Directory::open(&path, None, 1, &[]).unwrap_err();
        assert!(matches!(error, DirectoryError::Identity { .. }), "{error}");
    }

    #[test]
    fn a_directory_without_a_cluster_gets_its_own() {
        let root = tempfile::tempdir().unwrap();
        let own = Directory::open(root.path(), None, 1, &[])
            .unwrap()
            .cluster_id()
            .to_owned();
        assert!(!own.is_empty());
        assert_eq!(
            Directory::open(root.path(), Some(&own), 1, &[])
                .unwrap()
                .cluster_id(),
            own
        );
    }
}
