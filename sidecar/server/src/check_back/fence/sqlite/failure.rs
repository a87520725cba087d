//! What SQLite's errors mean for a check. None of them ever decides.

use super::{super::super::Undecided, options::SqliteOptions};

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
pub(super) fn on_connect(options: &SqliteOptions, error: &sqlx::Error) -> Undecided {
    match on_statement(options, error) {
        locked @ Undecided::Locked { .. } => locked,
        _ => Undecided::Connect {
            database: options.database.clone(),
            message: error.to_string(),
        },
    }
}

/// An error of a statement, or of the commit.
pub(super) fn on_statement(options: &SqliteOptions, error: &sqlx::Error) -> Undecided {
    let database = options.database.clone();
    let sqlx::Error::Database(answer) = error else {
        return Undecided::ConnectionLost { target: database };
    };
    let message = answer.message().to_owned();
    let code = answer
        .code()
        .and_then(|code| code.parse::<u32>().ok())
        .unwrap_or(ERROR);
    match code & PRIMARY_MASK {
        BUSY | LOCKED => Undecided::Locked {
            database,
            limit_ms: options.busy_timeout_ms(),
        },
        READONLY => Undecided::NotPrimary { database },
        // What cannot be prepared: the table is not there or is another one.
        ERROR => Undecided::NoFenceTable { database, message },
        PERM | IOERR | CORRUPT | FULL | CANTOPEN | NOTADB => Undecided::OutOfOrder {
            database,
            code: code.to_string(),
            message,
        },
        _ => Undecided::Statement {
            database,
            code: code.to_string(),
            message,
        },
    }
}
