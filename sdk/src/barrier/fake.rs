use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::{
    Call, Error, Failure, LONGEST_SAGA_DEFAULT, Outcome, Phase,
    sql::{check_age, check_size},
};

/// A barrier in memory around a participant's state, for tests: the same answers as
/// [`Barrier`](super::Barrier), gone with the process. Cheap to clone.
///
/// ```
/// use outrigger_sdk::barrier::{Call, Failure, FakeBarrier, Outcome, Phase};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let stock = FakeBarrier::new(10);
/// let call = Call::new("saga-17", "reserve-stock", Phase::Action)?;
/// for expected in [Outcome::Done("7".into()), Outcome::Repeated("7".into())] {
///     let outcome = stock
///         .run(&call, async |left: &mut i64| {
///             *left -= 3;
///             Ok(left.to_string())
///         })
///         .await?;
///     assert_eq!(outcome, expected);
/// }
/// assert_eq!(stock.state().await, 7);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct FakeBarrier<S> {
    inner: Arc<Mutex<Inner<S>>>,
}

#[derive(Debug)]
struct Inner<S> {
    state: S,
    rows: HashMap<(String, String, Phase), Row>,
}

#[derive(Debug, Clone)]
enum Row {
    Done(Bytes),
    Refused { attempt: u32, reason: Bytes },
    Fenced,
}

impl<S> Clone for FakeBarrier<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<S: Clone> FakeBarrier<S> {
    /// Around a state in the beginning.
    pub fn new(state: S) -> Self {
        let rows = HashMap::new();
        Self {
            inner: Arc::new(Mutex::new(Inner { state, rows })),
        }
    }

    /// A copy of the state, between two calls.
    pub async fn state(&self) -> S {
        self.inner.lock().await.state.clone()
    }

    /// As [`Barrier::run`](super::Barrier::run), on a copy of the state that takes its place
    /// when the effect has succeeded. One call at a time.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn run<F, T>(&self, call: &Call, effect: F) -> Result<Outcome, Error>
    where
        F: AsyncFnOnce(&mut S) -> Result<T, Failure>,
        T: Into<Bytes>,
    {
        check_age(call, LONGEST_SAGA_DEFAULT)?;
        let mut inner = self.inner.lock().await;
        if let Some(outcome) = inner.enter(call)? {
            return Ok(outcome);
        }
        let mut state = inner.state.clone();
        match effect(&mut state).await {
            Ok(output) => {
                let output = output.into();
                check_size("output", &output)?;
                inner.state = state;
                inner.set(call, call.phase(), Row::Done(output.clone()));
                Ok(Outcome::Done(output))
            }
            Err(Failure::Refused(reason)) => {
                check_size("refusal", &reason)?;
                if call.phase().remembers_refusals() {
                    let (attempt, reason) = (call.attempt_number(), reason.clone());
                    inner.set(call, call.phase(), Row::Refused { attempt, reason });
                }
                let repeated = false;
                Ok(Outcome::Refused { reason, repeated })
            }
            Err(Failure::Failed(error)) => Err(Error::Failed(error)),
        }
    }
}

impl<S> Inner<S> {
    fn row(&self, call: &Call, phase: Phase) -> Option<&Row> {
        let (saga_id, step) = (call.saga_id().to_owned(), call.step().to_owned());
        self.rows.get(&(saga_id, step, phase))
    }

    fn set(&mut self, call: &Call, phase: Phase, row: Row) {
        let (saga_id, step) = (call.saga_id().to_owned(), call.step().to_owned());
        self.rows.insert((saga_id, step, phase), row);
    }

    /// The answer, when the effect is not to run.
    fn enter(&mut self, call: &Call) -> Result<Option<Outcome>, Error> {
        match self.row(call, call.phase()) {
            Some(Row::Done(output)) => return Ok(Some(Outcome::Repeated(output.clone()))),
            Some(Row::Fenced) => return Ok(Some(Outcome::TooLate)),
            Some(Row::Refused { attempt, reason }) if *attempt >= call.attempt_number() => {
                let (reason, repeated) = (reason.clone(), true);
                return Ok(Some(Outcome::Refused { reason, repeated }));
            }
            Some(Row::Refused { .. }) | None => {}
        }
        if let Some(first) = call.phase().undoes()
            && !matches!(self.row(call, first), Some(Row::Done(_)))
        {
            self.set(call, first, Row::Fenced);
            self.set(call, call.phase(), Row::Done(Bytes::new()));
            return Ok(Some(Outcome::NullUndo));
        }
        let tried = matches!(self.row(call, Phase::Try), Some(Row::Done(_)));
        if call.phase() == Phase::Confirm && !tried {
            return Err(Error::NothingToConfirm {
                saga_id: call.saga_id().to_owned(),
                step: call.step().to_owned(),
            });
        }
        Ok(None)
    }
}
