//! What SQLite's errors mean for a check. None of them ever decides.

use super::{super::super::Error, options::SqliteOptions};

// https://www.sqlite.org/rescode.html
const ERROR: u32 = 1;
const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const NOTADB: u32 = 26;
/// Extended result codes have the primary one in the lowest byte.
const PRIMARY_MASK: u32 = 0xff;

/// An error while opening the file: nothing has been asked yet.
pub(super) fn on_connect(options: &SqliteOptions, error: &sqlx::Error) -> Error {
    match on_statement(options, error) {
        locked @ Error::Locked { .. } => locked,
        _ => Error::Connect {
            database: options.database.clone(),
            message: error.to_string(),
        },
    }
}

/// An error of a statement, or of the commit.
pub(super) fn on_statement(options: &SqliteOptions, error: &sqlx::Error) -> Error {
    let database = options.database.clone();
    let sqlx::Error::Database(answer) = error else {
        return Error::ConnectionLost { target: database };
    };
    let message = answer.message().to_owned();
    let code = answer
        .code()
        .and_then(|code| code.parse::<u32>().ok())
        .unwrap_or(ERROR);
    match code & PRIMARY_MASK {
        BUSY | LOCKED => Error::Locked {
            database,
            limit_ms: options.busy_timeout_ms(),
        },
        READONLY => Error::NotPrimary { database },
        // What cannot be prepared: the table is not there or is another one.
        ERROR => Error::NoFenceTable { database, message },
        PERM | IOERR | CORRUPT | FULL | CANTOPEN | NOTADB => Error::OutOfOrder {
            database,
            code: code.to_string(),
            message,
        },
        _ => Error::Statement {
            database,
            code: code.to_string(),
            message,
        },
    }
}
