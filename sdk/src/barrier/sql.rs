use std::time::Duration;

use bytes::Bytes;
use sqlx::Pool;

use super::{
    Call, Conflict, Error, Failure, LONGEST_SAGA_DEFAULT, OUTPUT_MAX_BYTES, Outcome,
    entry::{Entry, Obstacle, record_refusal, try_enter, try_finish},
    retry::Retry,
};
use crate::{database::LocalDatabase, inbox::EffectTransaction, transaction::Abort};

/// The barrier in a participant's database. Cheap to clone.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrigger_sdk::{barrier::{Barrier, Call, Failure, Outcome, Phase}, migrations};
///
/// # let pool = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new().max_connections(1).connect("sqlite::memory:").await?;
/// migrations::sqlite().run(&pool).await?;
/// sqlx::query("CREATE TABLE stock (left INTEGER)").execute(&pool).await?;
/// sqlx::query("INSERT INTO stock VALUES (10)").execute(&pool).await?;
///
/// let barrier = Barrier::new(pool);
/// let call = Call::new("saga-17", "reserve-stock", Phase::Action)?;
/// for expected in [Outcome::Done("7".into()), Outcome::Repeated("7".into())] {
///     let outcome = barrier
///         .run(&call, async |tx| {
///             let left: i64 = sqlx::query_scalar("UPDATE stock SET left = left - 3 RETURNING left")
///                 .fetch_one(&mut **tx)
///                 .await?;
///             if left < 0 {
///                 return Err(Failure::refused("not enough in stock"));
///             }
///             Ok(left.to_string())
///         })
///         .await?;
///     assert_eq!(outcome, expected);
/// }
/// # Ok(())
/// # }
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub struct Barrier<DB: LocalDatabase> {
    pub(super) pool: Pool<DB>,
    pub(super) longest_saga: Duration,
}

impl<DB: LocalDatabase> Clone for Barrier<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            longest_saga: self.longest_saga,
        }
    }
}

/// How one transaction ended.
enum Turn {
    Outcome(Outcome),
    Conflict(Conflict),
}

impl<DB: LocalDatabase> Barrier<DB> {
    /// The barrier in the table `outrigger_barrier` of that database, which comes from
    /// [`migrations`](crate::migrations).
    pub fn new(pool: Pool<DB>) -> Self {
        Self {
            pool,
            longest_saga: LONGEST_SAGA_DEFAULT,
        }
    }

    /// The longest that a saga which calls here may last, from its start to its end, the time
    /// it is parked included; [`LONGEST_SAGA_DEFAULT`] otherwise. Give the same to every
    /// replica.
    #[must_use]
    pub fn longest_saga(mut self, longest: Duration) -> Self {
        self.longest_saga = longest;
        self
    }

    /// Runs `effect` in a transaction of its own, unless the call has its answer already.
    ///
    /// The transaction begins with the rows of the barrier, so that a repeated or late call
    /// never reaches `effect`, whatever that would check first. Effect and rows commit
    /// together. What `effect` returns, at most [`OUTPUT_MAX_BYTES`], is kept with the row
    /// and answered to repeated calls.
    ///
    /// When others are in the way (deadlock, serialisation failure, a lock that is not had in
    /// time), everything is rolled back and a clone of `effect` runs **again**: it must do
    /// nothing outside of its transaction. It must pass errors of the database on.
    ///
    /// An identical call that is under way is waited for, for as long as the database's own
    /// lock timeout allows.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A business failure is no error but [`Outcome::Refused`].
    pub async fn run<F, T>(&self, call: &Call, effect: F) -> Result<Outcome, Error>
    where
        F: AsyncFnOnce(&mut EffectTransaction<DB>) -> Result<T, Failure> + Clone,
        T: Into<Bytes>,
    {
        check_age(call, self.longest_saga)?;
        let mut retry = Retry::new();
        loop {
            match self.turn(call, &effect).await? {
                Turn::Outcome(outcome) => return Ok(outcome),
                Turn::Conflict(conflict) => retry.pause(conflict).await?,
            }
        }
    }

    /// Enters the barrier within the transaction that `connection` is in, before anything else
    /// of the call happens. For those who run the transaction themselves; [`Barrier::run`]
    /// does all of it.
    ///
    /// On [`Entry::Run`] do the effect, call [`Barrier::finish`], and commit. On
    /// [`Entry::Answered`] commit as well: an undo that has met nothing leaves rows that keep
    /// a late action away. On any error, and when the effect fails, roll back; a business
    /// failure is recorded with [`Barrier::refuse`] after that.
    ///
    /// # Errors
    ///
    /// See [`Error`]. On [`Error::Busy`] roll back and do it again.
    pub async fn enter(
        &self,
        connection: &mut DB::Connection,
        call: &Call,
    ) -> Result<Entry, Error> {
        check_age(call, self.longest_saga)?;
        Ok(try_enter::<DB>(connection, call).await?)
    }

    /// Writes the output of an effect that has happened, at the end of its transaction. It is
    /// also what notices that the transaction is no longer the one that [`Barrier::enter`] was
    /// called in.
    ///
    /// # Errors
    ///
    /// See [`Error`]; roll back then.
    pub async fn finish(
        &self,
        connection: &mut DB::Connection,
        call: &Call,
        output: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let output = output.into();
        check_size("output", &output)?;
        Ok(try_finish::<DB>(connection, call, &output).await?)
    }

    /// Records that a call was refused, for those who run the transaction of the effect
    /// themselves ([`Barrier::enter`]) and have rolled it back. Returns what the call is
    /// to be answered: it may have been done by somebody else, or undone, meanwhile.
    ///
    /// Of an undo, a confirm or a cancel nothing is recorded.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn refuse(&self, call: &Call, reason: impl Into<Bytes>) -> Result<Outcome, Error> {
        let reason = reason.into();
        let mut retry = Retry::new();
        loop {
            match self.refusal(call, reason.clone()).await? {
                Turn::Outcome(outcome) => return Ok(outcome),
                Turn::Conflict(conflict) => retry.pause(conflict).await?,
            }
        }
    }

    async fn turn<F, T>(&self, call: &Call, effect: &F) -> Result<Turn, Error>
    where
        F: AsyncFnOnce(&mut EffectTransaction<DB>) -> Result<T, Failure> + Clone,
        T: Into<Bytes>,
    {
        let mut transaction = match DB::begin(&self.pool).await {
            Ok(transaction) => EffectTransaction(transaction),
            Err(error) => return Obstacle::of::<DB>(error).into_turn(),
        };
        match try_enter::<DB>(&mut transaction, call).await {
            Ok(Entry::Run) => {}
            Ok(Entry::Answered(outcome)) => return commit(transaction, outcome).await,
            Err(obstacle) => {
                rollback(transaction).await;
                return obstacle.into_turn();
            }
        }
        let output = match effect.clone()(&mut transaction).await {
            Ok(output) => output.into(),
            Err(failure) => {
                rollback(transaction).await;
                return self.failed(call, failure).await;
            }
        };
        let finished = match check_size("output", &output) {
            Ok(()) => try_finish::<DB>(&mut transaction, call, &output).await,
            Err(error) => Err(Obstacle::Error(error)),
        };
        match finished {
            Ok(()) => commit(transaction, Outcome::Done(output)).await,
            Err(obstacle) => {
                rollback(transaction).await;
                obstacle.into_turn()
            }
        }
    }

    async fn failed(&self, call: &Call, failure: Failure) -> Result<Turn, Error> {
        match failure {
            Failure::Refused(reason) => self.refusal(call, reason).await,
            Failure::Failed(error) if is_conflict::<DB>(&error) => {
                Ok(Turn::Conflict(Conflict::Effect(error)))
            }
            Failure::Failed(error) => Err(Error::Failed(error)),
        }
    }

    /// The refusal is recorded after the rollback, in a transaction of its own. Whatever
    /// comes in between is not lost: then that row is the answer. A crash in between leaves
    /// a call that nobody has answered.
    async fn refusal(&self, call: &Call, reason: Bytes) -> Result<Turn, Error> {
        check_size("refusal", &reason)?;
        if !call.phase().remembers_refusals() {
            let repeated = false;
            return Ok(Turn::Outcome(Outcome::Refused { reason, repeated }));
        }
        let mut transaction = match DB::begin(&self.pool).await {
            Ok(transaction) => EffectTransaction(transaction),
            Err(error) => return Obstacle::of::<DB>(error).into_turn(),
        };
        match record_refusal::<DB>(&mut transaction, call, reason).await {
            Ok(outcome) => commit(transaction, outcome).await,
            Err(obstacle) => {
                rollback(transaction).await;
                obstacle.into_turn()
            }
        }
    }
}

impl Obstacle {
    fn into_turn(self) -> Result<Turn, Error> {
        match self {
            Self::Conflict(conflict) => Ok(Turn::Conflict(conflict)),
            Self::Error(error) => Err(error),
        }
    }
}

async fn commit<DB: LocalDatabase>(
    transaction: EffectTransaction<DB>,
    outcome: Outcome,
) -> Result<Turn, Error> {
    match transaction.0.commit().await {
        Ok(()) => Ok(Turn::Outcome(outcome)),
        Err(error) => Obstacle::of::<DB>(error).into_turn(),
    }
}

async fn rollback<DB: LocalDatabase>(transaction: EffectTransaction<DB>) {
    // When this fails the connection is gone, and the transaction with it.
    if let Err(error) = transaction.0.rollback().await {
        tracing::debug!(%error, "the rollback was not confirmed");
    }
}

/// Whether an effect failed because others were in its way, however deep that is wrapped.
fn is_conflict<DB: LocalDatabase>(error: &Abort) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<sqlx::Error>()
            && DB::is_conflict(error)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn check_age(call: &Call, longest: Duration) -> Result<(), Error> {
    match call.saga_age() {
        Some(age) if age > longest => Err(Error::SagaTooOld {
            call: call.to_string(),
            age,
            longest,
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_size(what: &'static str, output: &Bytes) -> Result<(), Error> {
    if output.len() <= OUTPUT_MAX_BYTES {
        return Ok(());
    }
    Err(Error::OutputTooLarge {
        what,
        bytes: output.len(),
        max_bytes: OUTPUT_MAX_BYTES,
    })
}
