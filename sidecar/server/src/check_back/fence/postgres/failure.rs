//! What PostgreSQL's errors mean for a check. None of them ever decides.

use std::{error::Error as _, io::ErrorKind};

use tokio_postgres::error::SqlState;

use super::{super::super::Undecided, options::PostgresOptions};

/// An error while connecting: nothing has been asked yet.
pub(super) fn on_connect(database: &str, error: &tokio_postgres::Error) -> Undecided {
    let database = database.to_owned();
    if refused_as_read_only(error) {
        return Undecided::NotPrimary { database };
    }
    if error.code().is_some_and(is_about_the_table) {
        return Undecided::NoFenceTable {
            database,
            message: message(error),
        };
    }
    Undecided::Connect {
        database,
        message: message(error),
    }
}

/// An error of a statement that was sent.
pub(super) fn on_statement(
    options: &PostgresOptions,
    lock_timeout_ms: u64,
    error: &tokio_postgres::Error,
) -> Undecided {
    let database = options.database.clone();
    let Some(code) = error.code() else {
        return Undecided::ConnectionLost { target: database };
    };
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return Undecided::Locked {
            database,
            limit_ms: lock_timeout_ms,
        };
    }
    let message = message(error);
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Undecided::NotPrimary { database };
    }
    if is_about_the_table(code) {
        return Undecided::NoFenceTable { database, message };
    }
    // Cancelled (57014) is in the class of shutdowns, but it is a matter of this check.
    let cancelled = *code == SqlState::QUERY_CANCELED;
    let code = code.code().to_owned();
    match code.get(..2) {
        Some("08" | "53" | "57" | "58" | "XX") if !cancelled => Undecided::OutOfOrder {
            database,
            code,
            message,
        },
        _ => Undecided::Statement {
            database,
            code,
            message,
        },
    }
}

/// Whether the next check on the same connection may well succeed.
pub(super) fn is_passing(error: &Undecided) -> bool {
    match error {
        Undecided::Locked { .. } => true,
        Undecided::Statement { code, .. } => [
            SqlState::QUERY_CANCELED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .iter()
        .any(|passing| passing.code() == code),
        _ => false,
    }
}

/// Syntax errors and access rights: missing tables and columns, wrong types, no privilege.
fn is_about_the_table(code: &SqlState) -> bool {
    code.code().starts_with("42")
}

/// tokio-postgres' own check of the session's attributes says so without a code.
fn refused_as_read_only(error: &tokio_postgres::Error) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| {
            error.kind() == ErrorKind::PermissionDenied && error.to_string().contains("writes")
        })
}

fn message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => answer.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
