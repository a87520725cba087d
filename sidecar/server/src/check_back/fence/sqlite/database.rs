use std::{fs, os::unix::fs::MetadataExt as _};

use sqlx::{Connection as _, SqliteConnection};

use super::{
    super::super::Undecided,
    batch::{self, Question},
    failure,
    options::SqliteOptions,
};

/// The connection, opened when it is needed and again when the file was replaced.
pub(super) struct Database {
    options: SqliteOptions,
    open: Option<Open>,
}

struct Open {
    connection: SqliteConnection,
    identity: Identity,
}

/// Which file this is. A file that was deleted or replaced lives on behind an open
/// connection, and a fence in it would decide about nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Database {
    pub(super) fn new(options: SqliteOptions) -> Self {
        Self {
            options,
            open: None,
        }
    }

    pub(super) fn options(&self) -> &SqliteOptions {
        &self.options
    }

    /// Answers all questions, one way or another.
    pub(super) async fn answer(&mut self, questions: &mut Vec<Question>) {
        let failure = match self.connection().await {
            Ok((connection, options)) => batch::decide(connection, questions, options).await.err(),
            Err(error) => Some(error),
        };
        let Some(failure) = failure else { return };
        if !matches!(failure, Undecided::Locked { .. }) {
            self.open = None;
        }
        for question in questions.drain(..) {
            question.answer(failure.clone());
        }
    }

    async fn connection(&mut self) -> Result<(&mut SqliteConnection, &SqliteOptions), Undecided> {
        let identity = self.identity()?;
        let open = match self.open.take() {
            Some(open) if open.identity == identity => open,
            _ => self.connect(identity).await?,
        };
        Ok((&mut self.open.insert(open).connection, &self.options))
    }

    async fn connect(&self, identity: Identity) -> Result<Open, Undecided> {
        let connection = SqliteConnection::connect_with(&self.options.connect)
            .await
            .map_err(|error| failure::on_connect(&self.options, &error))?;
        // Replaced in between: the next check looks again.
        if self.identity()? != identity {
            return Err(self.cannot_open("the file was replaced while it was opened"));
        }
        Ok(Open {
            connection,
            identity,
        })
    }

    fn identity(&self) -> Result<Identity, Undecided> {
        fs::metadata(&self.options.file)
            .map(|metadata| Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
            })
            .map_err(|error| self.cannot_open(&error.to_string()))
    }

    fn cannot_open(&self, message: &str) -> Undecided {
        Undecided::Connect {
            database: self.options.database.clone(),
            message: message.to_owned(),
        }
    }
}
