use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_core::placement::Placement;
use uuid::Uuid;

use crate::directory::{DirectoryError, SET_ASIDE, context, lock, sync};

const FILE: &str = "identity";
const FILE_UNFINISHED: &str = "identity.new";
/// Names the format, and is the first line.
const FORMAT: &str = "outrigger-data 2";
/// Before nodes had instances: cluster and node only.
const FORMAT_1: &str = "outrigger-data 1";
/// What is set aside goes into a directory of this name and the time, in milliseconds since
/// the Unix epoch.
const QUARANTINE: &str = "quarantine-";

/// Whose a data directory is. Everything here works on directories whose log is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster; `None` as long as the node waits to be taken into one.
    pub cluster_id: Option<String>,
    /// The node.
    pub node_id: u64,
    /// How many data groups the cluster has; `None` as long as the node waits.
    pub groups: Option<u32>,
    /// Made with the directory, and never given out again.
    pub instance: u128,
    /// The log was damaged and is set aside. The node must not vote or keep entries before its
    /// cluster has removed it and takes it back as a new member.
    pub repairing: bool,
}

impl Identity {
    /// Whose the directory is; a new one becomes this node's.
    ///
    /// # Errors
    ///
    /// When the directory is in use or belongs to another node, or the file system fails.
    pub fn read_or_make(data_dir: &Path, node_id: u64) -> Result<Self, DirectoryError> {
        context("creating", data_dir, std::fs::create_dir_all(data_dir))?;
        let _lock = lock(data_dir)?;
        Self::read_or_make_locked(data_dir, node_id)
    }

    /// Makes the node one of a cluster that has so many data groups.
    ///
    /// # Errors
    ///
    /// When it belongs to another cluster already or has another number of data groups, when
    /// there cannot be so many, or the file system fails.
    pub fn adopt(data_dir: &Path, cluster_id: &str, groups: u32) -> Result<Self, DirectoryError> {
        let placement = Placement::new(groups)?;
        let _lock = lock(data_dir)?;
        let mut identity = Self::read(data_dir)?.ok_or_else(|| missing(data_dir))?;
        identity.join(data_dir, cluster_id, placement)?;
        Ok(identity)
    }

    /// Sets a damaged log and what was derived from it aside, for a person to look at; nothing
    /// is deleted. Tells where everything is now. The log cannot be opened before
    /// [`Identity::readmitted`].
    ///
    /// # Errors
    ///
    /// When the directory is in use, or the file system fails.
    pub fn set_aside(data_dir: &Path) -> Result<PathBuf, DirectoryError> {
        let _lock = lock(data_dir)?;
        let mut identity = Self::read(data_dir)?.ok_or_else(|| missing(data_dir))?;
        // First of all: with an empty log and without this mark the node would take part again,
        // and forget whom it has voted for and what it has acknowledged.
        identity.repairing = true;
        identity.write(data_dir)?;
        quarantine(data_dir)
    }

    /// The cluster has removed the node and takes it back: its log may be opened, empty.
    ///
    /// # Errors
    ///
    /// When the directory is in use, or the file system fails.
    pub fn readmitted(data_dir: &Path) -> Result<Self, DirectoryError> {
        let _lock = lock(data_dir)?;
        let mut identity = Self::read(data_dir)?.ok_or_else(|| missing(data_dir))?;
        if identity.repairing {
            // The process may have ended before everything was set aside.
            quarantine(data_dir)?;
            identity.repairing = false;
            identity.write(data_dir)?;
        }
        Ok(identity)
    }

    pub(crate) fn read_or_make_locked(
        data_dir: &Path,
        node_id: u64,
    ) -> Result<Self, DirectoryError> {
        if let Some(found) = Self::read(data_dir)? {
            return match found.node_id == node_id {
                true => Ok(found),
                false => Err(DirectoryError::OtherNode {
                    path: data_dir.to_owned(),
                    found: found.node_id,
                    expected: node_id,
                }),
            };
        }
        let identity = Self {
            cluster_id: None,
            node_id,
            groups: None,
            instance: Uuid::new_v4().as_u128(),
            repairing: false,
        };
        identity.write(data_dir)?;
        Ok(identity)
    }

    /// Records the cluster and how many data groups it has, unless that is recorded already.
    pub(crate) fn join(
        &mut self,
        data_dir: &Path,
        cluster_id: &str,
        placement: Placement,
    ) -> Result<(), DirectoryError> {
        let given = placement.groups();
        match &self.cluster_id {
            Some(found) if found == cluster_id => match self.groups {
                Some(recorded) if recorded != given => Err(DirectoryError::OtherGroups {
                    path: data_dir.to_owned(),
                    recorded,
                    given,
                }),
                _ => Ok(()),
            },
            Some(found) => Err(DirectoryError::OtherCluster {
                path: data_dir.to_owned(),
                found: found.clone(),
                expected: cluster_id.to_owned(),
            }),
            None => {
                self.cluster_id = Some(cluster_id.to_owned());
                self.groups = Some(given);
                self.write(data_dir)
            }
        }
    }

    fn read(data_dir: &Path) -> Result<Option<Self>, DirectoryError> {
        let path = data_dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return context("reading", &path, Err(source)),
        };
        let identity = parse(&text).map_err(|what| DirectoryError::Identity { path, what })?;
        if text.lines().next() == Some(FORMAT_1) {
            // It has been given an instance, which must stay.
            identity.write(data_dir)?;
        }
        Ok(Some(identity))
    }

    /// Written beside its place and renamed, so that it is there whole or not at all.
    fn write(&self, data_dir: &Path) -> Result<(), DirectoryError> {
        let path = data_dir.join(FILE);
        let unfinished = data_dir.join(FILE_UNFINISHED);
        let written = || -> io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        context("writing", &path, written())?;
        sync(data_dir)
    }

    fn text(&self) -> String {
        let mut text = format!("{FORMAT}\nnode {}\n", self.node_id);
        text += &format!("instance {:032x}\n", self.instance);
        if let Some(cluster_id) = &self.cluster_id {
            text += &format!("cluster {cluster_id}\n");
        }
        if let Some(groups) = self.groups {
            text += &format!("groups {groups}\n");
        }
        if self.repairing {
            text += "repairing\n";
        }
        text
    }
}

fn parse(text: &str) -> Result<Identity, &'static str> {
    let mut lines = text.lines();
    let format = lines.next();
    if ![Some(FORMAT), Some(FORMAT_1)].contains(&format) {
        return Err("the first line does not name a known format");
    }
    let (mut cluster_id, mut node_id, mut instance, mut repairing) = (None, None, None, false);
    let mut groups = None;
    for line in lines {
        match line.split_once(' ') {
            Some(("cluster", id)) => cluster_id = Some(id.to_owned()),
            Some(("node", id)) => node_id = id.parse().ok(),
            Some(("groups", count)) => {
                groups = Some(count.parse().map_err(|_| "the number of data groups")?);
            }
            Some(("instance", id)) => instance = u128::from_str_radix(id, 16).ok(),
            None if line == "repairing" => repairing = true,
            _ => return Err("a line is not understood"),
        }
    }
    if format == Some(FORMAT_1) {
        instance = Some(Uuid::new_v4().as_u128());
        cluster_id.as_ref().ok_or("the cluster is missing")?;
    }
    // Before there were several, each cluster had one.
    let groups = groups.or(cluster_id.is_some().then_some(1));
    Ok(Identity {
        cluster_id,
        node_id: node_id.ok_or("the node is missing")?,
        groups,
        instance: instance.ok_or("the instance is missing")?,
        repairing,
    })
}

fn missing(data_dir: &Path) -> DirectoryError {
    DirectoryError::Identity {
        path: data_dir.join(FILE),
        what: "it does not exist",
    }
}

/// Moves what is to be set aside, if there is any, into a directory of its own.
fn quarantine(data_dir: &Path) -> Result<PathBuf, DirectoryError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since_epoch.map_or(0, |time| time.as_millis());
    let mut names = (now_ms..).map(|at_ms| data_dir.join(format!("{QUARANTINE}{at_ms}")));
    let aside = names.find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| data_dir.join(QUARANTINE));
    for name in SET_ASIDE {
        let from = data_dir.join(name);
        if from.exists() {
            context("creating", &aside, std::fs::create_dir_all(&aside))?;
            let moved = std::fs::rename(&from, aside.join(name));
            context("setting aside", &from, moved)?;
        }
    }
    if aside.exists() {
        sync(&aside)?;
    }
    sync(data_dir)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    #[test]
    fn a_node_waits_is_adopted_once_and_keeps_its_instance() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let made = Identity::read_or_make(&path, 3).unwrap();
        assert_eq!((made.cluster_id.as_deref(), made.node_id), (None, 3));
        assert_eq!(Identity::read_or_make(&path, 3).unwrap(), made);
        let error = Identity::read_or_make(&path, 4).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherNode { .. }), "{error}");

        assert_eq!(made.groups, None);
        let error = Identity::adopt(&path, "shop", 0).unwrap_err();
        assert!(matches!(error, DirectoryError::Groups(_)), "{error}");

        let adopted = Identity::adopt(&path, "shop", 3).unwrap();
        assert_eq!(adopted.cluster_id.as_deref(), Some("shop"));
        assert_eq!(adopted.groups, Some(3));
        assert_eq!(adopted.instance, made.instance);
        assert_eq!(Identity::adopt(&path, "shop", 3).unwrap(), adopted);
        let error = Identity::adopt(&path, "shop", 2).unwrap_err();
        assert!(
            matches!(
                error,
                DirectoryError::OtherGroups {
                    recorded: 3,
                    given: 2,
                    ..
                }
            ),
            "{error}"
        );
        let error = Identity::adopt(&path, "bank", 3).unwrap_err();
        assert!(
            matches!(error, DirectoryError::OtherCluster { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_directory_of_the_first_format_gets_an_instance_that_stays() {
        let root = tempfile::tempdir().unwrap();
        let old = "outrigger-data 1\ncluster shop\nnode 7\n";
        std::fs::write(root.path().join(FILE), old).unwrap();
        let first = Identity::read_or_make(root.path(), 7).unwrap();
        assert_eq!(first.cluster_id.as_deref(), Some("shop"));
        assert_eq!(Identity::read_or_make(root.path(), 7).unwrap(), first);
    }

    #[test]
    fn what_is_set_aside_is_kept_and_the_log_stays_closed_until_the_node_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        let open = |one_of| Directory::open(path, Some("shop"), 1, Placement::SINGLE, one_of);
        drop(open(false).unwrap());
        std::fs::write(path.join("wal/segment"), "damaged").unwrap();
        let aside = Identity::set_aside(path).unwrap();
        let kept = std::fs::read_to_string(aside.join("wal/segment")).unwrap();
        assert_eq!(kept, "damaged");
        assert!(aside.join("groups/0/derived").is_dir() && !path.join("wal").exists());
        let error = open(true).unwrap_err();
        assert!(matches!(error, DirectoryError::Repairing { .. }), "{error}");

        // The process ended while it was setting things aside.
        std::fs::create_dir(path.join("wal")).unwrap();
        std::fs::write(path.join("wal/segment"), "damaged too").unwrap();
        let identity = Identity::readmitted(path).unwrap();
        assert!(!identity.repairing);
        assert!(!path.join("wal").exists());
        drop(open(true).unwrap());
    }
}
