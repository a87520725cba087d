use std::{fmt, io, path::Path};

/// Why a test server cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server's program is not installed.
    #[error(
        "{program} was found neither on PATH nor in {searched}; install Debian's package {package}, or set {env}"
    )]
    NotInstalled {
        /// The program looked for.
        program: &'static str,
        /// Where else it was looked for.
        searched: &'static str,
        /// What to install.
        package: &'static str,
        /// The environment variable that names a running one.
        env: &'static str,
    },
    /// A file or a process could not be handled.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        error: String,
    },
    /// A program ended when it should not have.
    #[error("{program} did not start; its output was:\n{output}")]
    NotStarted {
        /// The program.
        program: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server refused a statement or a connection.
    #[error("{url}: {error}")]
    Database {
        /// The server's URL.
        url: String,
        /// What it said.
        error: String,
    },
}

impl Error {
    pub(super) fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self::Io {
            doing: doing.to_string(),
            error: error.to_string(),
        }
    }

    pub(super) fn path(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::io(format_args!("{doing} {}", path.display()), error)
    }

    pub(super) fn database(url: &str, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        Self::Database {
            url: url.to_owned(),
            error: text,
        }
    }
}
