//! For the tests of applications: does a participant of a saga keep its promises?
//!
//! [`check_saga`] and [`check_tcc`] call a participant's handlers as a saga would on its worst
//! days: twice, at once, in the wrong order, and with the caller gone in the middle. They look
//! only at what can be seen from outside: the [`State`](Participant::state) that calls change.
//!
//! ```
//! use outrigger_sdk::{
//!     barrier::{Call, FakeBarrier, Failure, Phase},
//!     testing::{Answer, Participant, check_saga},
//! };
//!
//! struct Stock(FakeBarrier<i64>);
//!
//! impl Participant for Stock {
//!     type State = i64;
//!
//!     async fn call(&self, call: Call) -> Answer {
//!         let outcome = self.0.run(&call, async |left: &mut i64| {
//!             match call.phase() {
//!                 Phase::Action if *left < 3 => return Err(Failure::refused("sold out")),
//!                 Phase::Action => *left -= 3,
//!                 Phase::Undo => *left += 3,
//!                 other => return Err(format!("no such call: {other}").into()),
//!             }
//!             Ok(left.to_string())
//!         });
//!         outcome.await.into()
//!     }
//!
//!     async fn state(&self) -> i64 {
//!         self.0.state().await
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! check_saga(&Stock(FakeBarrier::new(10)), "reserve-stock").await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod crash;
mod scenarios;

use std::{fmt, future::Future};

use bytes::Bytes;

use crate::barrier::{Call, Error, InvalidCall, Outcome};

pub use scenarios::{check_saga, check_tcc};

/// A participant under test.
pub trait Participant: Sync {
    /// What calls change, such as the balances of the accounts that they touch. Nothing else
    /// may change it during a check.
    type State: PartialEq + fmt::Debug + Send;

    /// Calls the handler, as the saga would. When the future is dropped the caller is gone;
    /// the handler may go on or not.
    fn call(&self, call: Call) -> impl Future<Output = Answer> + Send;

    /// The state now.
    fn state(&self) -> impl Future<Output = Self::State> + Send;
}

/// What a participant answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, with this output.
    Success(Bytes),
    /// A business failure, for this reason.
    Refused(Bytes),
    /// Nobody knows; the saga calls again. With words for a person.
    Unknown(String),
}

impl From<Result<Outcome, Error>> for Answer {
    fn from(outcome: Result<Outcome, Error>) -> Self {
        match outcome {
            Ok(outcome @ (Outcome::TooLate | Outcome::Refused { .. })) => {
                Self::Refused(outcome.into_body())
            }
            Ok(outcome) => Self::Success(outcome.into_body()),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

/// A promise that the participant does not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The state is not what it has to be.
    #[error("{scenario}: the state is {found}, but has to be {expected}")]
    State {
        /// What was done.
        scenario: String,
        /// What it has to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The answer is not what it has to be.
    #[error("{scenario}: {call} was answered {found:?}, but has to be {expected}")]
    Answer {
        /// What was done.
        scenario: String,
        /// The call.
        call: String,
        /// What it has to be.
        expected: String,
        /// The answer.
        found: Answer,
    },
    /// The participant cannot be called like that.
    #[error(transparent)]
    Call(#[from] InvalidCall),
}
