use bytes::Bytes;

use super::{Call, Conflict, Error, Outcome, Phase};
use crate::database::{
    LocalDatabase,
    barrier::{BarrierKey, BarrierRow},
};

/// What the rows say about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is for the first time: do the effect in this transaction, then
    /// [`Barrier::finish`](super::Barrier::finish).
    Run,
    /// It has its answer already; there is nothing to do but to commit.
    Answered(Outcome),
}

/// Why the rows say nothing about a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// Rolled back and done again it may work.
    #[error(transparent)]
    Conflict(Conflict),
    #[error(transparent)]
    Error(Error),
}

impl Obstacle {
    pub(super) fn of<DB: LocalDatabase>(error: sqlx::Error) -> Self {
        if DB::is_conflict(&error) {
            Self::Conflict(error.into())
        } else {
            Self::Error(error.into())
        }
    }

    fn changed(call: &Call) -> Self {
        Self::Conflict(Conflict::Changed {
            call: call.to_string(),
        })
    }
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Conflict(source) => Self::Busy {
                attempts: 1,
                source,
            },
            Obstacle::Error(error) => error,
        }
    }
}

pub(super) async fn try_enter<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
) -> Result<Entry, Obstacle> {
    match (call.phase(), call.phase().undoes()) {
        (_, Some(first)) => enter_undo::<DB>(connection, call, first).await,
        (Phase::Confirm, None) => enter_confirm::<DB>(connection, call).await,
        (_, None) => enter_first::<DB>(connection, call).await,
    }
}

pub(super) async fn try_finish<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
    output: &[u8],
) -> Result<(), Obstacle> {
    let own = key(call, call.phase());
    // Without an output there is nothing to write, but a transaction that has ended must be
    // noticed all the same: PostgreSQL answers OK to the COMMIT of one that has failed, and
    // MySQL and SQLite go on without one.
    let present = if output.is_empty() {
        DB::read_barrier(connection, own)
            .await
            .map(|row| row.is_some())
    } else {
        DB::write_output(connection, own, output).await
    };
    if present.map_err(Obstacle::of::<DB>)? {
        return Ok(());
    }
    Err(Obstacle::Error(Error::TransactionLost {
        call: call.to_string(),
    }))
}

/// Records that a call was refused, unless it has been answered otherwise meanwhile.
pub(super) async fn record_refusal<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
    reason: Bytes,
) -> Result<Outcome, Obstacle> {
    let own = key(call, call.phase());
    let refusal = row(State::Refused, call.attempt_number(), Some(&reason));
    let refused = Outcome::Refused {
        reason,
        repeated: false,
    };
    if insert::<DB>(connection, own, &refusal).await? {
        return Ok(refused);
    }
    match read::<DB>(connection, call, call.phase()).await? {
        Recorded::Done(output) => Ok(Outcome::Repeated(output)),
        Recorded::Fenced => Ok(Outcome::TooLate),
        Recorded::Refused { attempt, .. } if attempt < i64::from(call.attempt_number()) => {
            match replace::<DB>(connection, own, &refusal).await? {
                true => Ok(refused),
                false => Err(Obstacle::changed(call)),
            }
        }
        Recorded::Refused { reason, .. } => Ok(Outcome::Refused {
            reason,
            repeated: true,
        }),
    }
}

/// An action, or a try.
async fn enter_first<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
) -> Result<Entry, Obstacle> {
    let own = key(call, call.phase());
    let done = row(State::Done, call.attempt_number(), None);
    if insert::<DB>(connection, own, &done).await? {
        return Ok(Entry::Run);
    }
    let outcome = match read::<DB>(connection, call, call.phase()).await? {
        Recorded::Done(output) => Outcome::Repeated(output),
        Recorded::Fenced => Outcome::TooLate,
        Recorded::Refused { attempt, .. } if attempt < i64::from(call.attempt_number()) => {
            return match replace::<DB>(connection, own, &done).await? {
                true => Ok(Entry::Run),
                false => Err(Obstacle::changed(call)),
            };
        }
        Recorded::Refused { reason, .. } => Outcome::Refused {
            reason,
            repeated: true,
        },
    };
    Ok(Entry::Answered(outcome))
}

/// An undo, or a cancel, of `first`.
async fn enter_undo<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
    first: Phase,
) -> Result<Entry, Obstacle> {
    let (own, undone) = (key(call, call.phase()), key(call, first));
    // First of all, and waiting for an action that is running: whoever inserts this row
    // decides whether the action has an effect.
    let fence = row(State::Fenced, 0, None);
    let never_ran = insert::<DB>(connection, undone, &fence).await?;
    let done = row(State::Done, call.attempt_number(), None);
    if !insert::<DB>(connection, own, &done).await? {
        return match read::<DB>(connection, call, call.phase()).await? {
            Recorded::Done(output) => Ok(Entry::Answered(Outcome::Repeated(output))),
            Recorded::Fenced | Recorded::Refused { .. } => Err(Obstacle::changed(call)),
        };
    }
    if never_ran {
        return Ok(Entry::Answered(Outcome::NullUndo));
    }
    match read::<DB>(connection, call, first).await? {
        Recorded::Done(_) => Ok(Entry::Run),
        Recorded::Fenced => Ok(Entry::Answered(Outcome::NullUndo)),
        // A later attempt of the action would be let through by the refusal, but not by
        // the fence.
        Recorded::Refused { .. } => {
            let fence = BarrierRow {
                attempt: i64::MAX,
                ..fence
            };
            match replace::<DB>(connection, undone, &fence).await? {
                true => Ok(Entry::Answered(Outcome::NullUndo)),
                false => Err(Obstacle::changed(call)),
            }
        }
    }
}

async fn enter_confirm<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
) -> Result<Entry, Obstacle> {
    let own = key(call, call.phase());
    let done = row(State::Done, call.attempt_number(), None);
    if !insert::<DB>(connection, own, &done).await? {
        return match read::<DB>(connection, call, call.phase()).await? {
            Recorded::Done(output) => Ok(Entry::Answered(Outcome::Repeated(output))),
            Recorded::Fenced | Recorded::Refused { .. } => Err(Obstacle::changed(call)),
        };
    }
    let tried = DB::read_barrier(connection, key(call, Phase::Try))
        .await
        .map_err(Obstacle::of::<DB>)?;
    match tried.map(|row| recorded(call, row)).transpose()? {
        Some(Recorded::Done(_)) => Ok(Entry::Run),
        Some(Recorded::Fenced | Recorded::Refused { .. }) | None => {
            Err(Obstacle::Error(Error::NothingToConfirm {
                saga_id: call.saga_id().to_owned(),
                step: call.step().to_owned(),
            }))
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    Done,
    Refused,
    Fenced,
}

/// What a row that is there says.
enum Recorded {
    Done(Bytes),
    Refused { attempt: i64, reason: Bytes },
    Fenced,
}

fn recorded(call: &Call, row: BarrierRow) -> Result<Recorded, Obstacle> {
    let output = row.output.map(Bytes::from).unwrap_or_default();
    match row.outcome.as_str() {
        "done" => Ok(Recorded::Done(output)),
        "refused" => Ok(Recorded::Refused {
            attempt: row.attempt,
            reason: output,
        }),
        "fenced" => Ok(Recorded::Fenced),
        _ => Err(Obstacle::Error(Error::UnknownOutcome {
            call: call.to_string(),
            outcome: row.outcome,
        })),
    }
}

fn key(call: &Call, phase: Phase) -> BarrierKey<'_> {
    BarrierKey {
        saga_id: call.saga_id(),
        step: call.step(),
        phase: phase.name(),
    }
}

fn row(state: State, attempt: u32, output: Option<&Bytes>) -> BarrierRow {
    BarrierRow {
        outcome: match state {
            State::Done => "done",
            State::Refused => "refused",
            State::Fenced => "fenced",
        }
        .to_owned(),
        attempt: i64::from(attempt),
        output: output.map(|output| output.to_vec()),
    }
}

async fn insert<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    key: BarrierKey<'_>,
    row: &BarrierRow,
) -> Result<bool, Obstacle> {
    DB::insert_barrier(connection, key, row)
        .await
        .map_err(Obstacle::of::<DB>)
}

async fn replace<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    key: BarrierKey<'_>,
    row: &BarrierRow,
) -> Result<bool, Obstacle> {
    DB::replace_refusal(connection, key, row)
        .await
        .map_err(Obstacle::of::<DB>)
}

/// Reads a row that an insert has met. When it is gone it has been collected meanwhile.
async fn read<DB: LocalDatabase>(
    connection: &mut DB::Connection,
    call: &Call,
    phase: Phase,
) -> Result<Recorded, Obstacle> {
    let row = DB::read_barrier(connection, key(call, phase))
        .await
        .map_err(Obstacle::of::<DB>)?;
    match row {
        Some(row) => recorded(call, row),
        None => Err(Obstacle::changed(call)),
    }
}
