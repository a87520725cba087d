use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use outrigger_log::DirectoryError;

/// What a node is in the middle of, and has to go on with when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// This node forms a cluster.
    Forming,
    /// Its log was set aside; it has not become a voter again.
    Rejoining,
}

impl Mark {
    fn file(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Rejoining => "rejoining",
        }
    }
}

/// Marks as files in the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    data: PathBuf,
}

impl Marks {
    pub(crate) fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }

    pub(crate) fn is_set(&self, mark: Mark) -> bool {
        self.data.join(mark.file()).exists()
    }

    /// Durable when this returns.
    pub(crate) fn set(&self, mark: Mark) -> Result<(), DirectoryError> {
        let made = || {
            File::create(self.data.join(mark.file()))?.sync_all()?;
            File::open(&self.data)?.sync_all()
        };
        self.context("marking", mark, made())
    }

    /// Durable when this returns.
    pub(crate) fn clear(&self, mark: Mark) -> Result<(), DirectoryError> {
        let removed = || match fs::remove_file(self.data.join(mark.file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.data)?.sync_all(),
        };
        self.context("clearing", mark, removed())
    }

    fn context(
        &self,
        action: &'static str,
        mark: Mark,
        result: io::Result<()>,
    ) -> Result<(), DirectoryError> {
        result.map_err(|source| DirectoryError::Io {
            action,
            path: self.data.join(mark.file()),
            source,
        })
    }
}
