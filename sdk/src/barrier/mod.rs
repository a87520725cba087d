//! The barrier of a saga's participant: absorbs repeated, empty and late calls.
//!
//! Calls of a saga arrive more than once, an undo may arrive before its action, and an action
//! after its undo. [`Barrier::run`] does the effect of a call once, in the participant's own
//! database transaction together with a row that says so; [`RedisBarrier`] does the same for
//! effects in Redis, in one script.
//!
//! | call | what happens |
//! |---|---|
//! | for the first time | the effect runs, its output is kept |
//! | again | nothing runs; the same output |
//! | undo (cancel), the action (try) has been done | the effect of the undo runs |
//! | undo (cancel), the action (try) has not been here, or was refused | nothing runs; success |
//! | action (try) after that | nothing runs; too late |
//! | again after a refusal | nothing runs; the same refusal |
//! | confirm without its try | nothing runs; an error |
//!
//! All of this is decided before the effect runs, and so before anything that the effect
//! would check: a repeated debit is a repeated debit, even when the account is empty by now.
//!
//! An undo inserts the **action's** row first. If that works, the action has never run here,
//! and will find its row taken when it arrives. If the action is running, the insert waits for
//! it to end. Nothing is ever decided by reading that a row is absent.
//!
//! # Business failures
//!
//! When the effect returns [`Failure::refused`] its transaction is rolled back. The refusal of
//! an action (try) is then **recorded**: the saga begins to undo when it hears of it, so an
//! identical call that was on its way for longer must not succeed after that. It holds for all
//! [attempts](Call::attempt) up to the one that was refused. A later attempt says that the saga
//! goes on all the same, because the answer was lost or because a person had the call retried:
//! then the effect runs again, and may succeed. That is safe, because a saga takes a refusal
//! from its latest attempt only, and undoes an action that was refused after another attempt of
//! it had been sent; after an undo the effect never runs. Whoever numbers attempts must number
//! all calls of a step upwards, across restarts too.
//! The refusal of an undo, confirm or cancel is answered but not recorded: those have to
//! succeed in the end, so they are simply called again.
//!
//! # Isolation
//!
//! The transaction has the isolation level that the pool's connections have; all levels are
//! correct, READ COMMITTED has the fewest conflicts. Of two identical calls at once one runs,
//! and the other waits for its row, as long as the database's own lock timeout allows. Set
//! that to less than the saga's timeout for a call (`lock_timeout` in PostgreSQL,
//! `innodb_lock_wait_timeout` in MySQL, the busy timeout of SQLite), or callers that have
//! given up keep connections busy. Deadlocks, serialisation failures and lock timeouts are
//! retried at most [`ATTEMPTS_MAX`] times within 5 s, then [`Error::Busy`] says to come again.
//! SQLite needs WAL mode and a busy timeout, see [`fence`](crate::fence#sqlite).
//!
//! # How long rows are kept
//!
//! Rows are needed as long as their saga lasts, the time it is parked included, and for a day
//! more ([`RETENTION_MARGIN`]). How long that is only the application knows: it says so with
//! [`Barrier::longest_saga`] (30 days unless it does), and nothing younger is ever collected.
//! Give the calls the time at which their saga [began](Call::saga_started_at), and a call of an
//! older saga is an error instead of a guess; [`Call::from_headers`] does, and so does a call
//! made from a gRPC request.

mod call;
mod collect;
mod entry;
mod error;
mod failure;
mod fake;
mod headers;
mod outcome;
#[cfg(feature = "redis")]
mod redis;
mod retry;
mod sql;

use std::time::Duration;

pub use call::{Call, InvalidCall, Phase, SAGA_ID_MAX_BYTES, STEP_MAX_BYTES};
pub use entry::Entry;
pub use error::{CollectError, Conflict, Error};
pub use failure::Failure;
pub use fake::FakeBarrier;
pub use outcome::Outcome;
#[cfg(feature = "redis")]
pub use redis::{Adjustment, RedisBarrier, RedisEffect};
pub use retry::ATTEMPTS_MAX;
pub use sql::Barrier;

pub use crate::inbox::EffectTransaction;

const DAY_S: u64 = 24 * 60 * 60;

/// The longest that a saga may last, from its start to its end, the time it is parked
/// included, unless the application says otherwise: 30 days.
pub const LONGEST_SAGA_DEFAULT: Duration = Duration::from_secs(30 * DAY_S);

/// For how long rows are kept when their saga has ended, because clocks differ and calls may
/// still be under way: a day.
pub const RETENTION_MARGIN: Duration = Duration::from_secs(DAY_S);

/// The largest output, and the largest reason of a refusal, in bytes: 4 MiB, the most that the
/// definition of a saga may allow.
pub const OUTPUT_MAX_BYTES: usize = 4 * 1024 * 1024;
