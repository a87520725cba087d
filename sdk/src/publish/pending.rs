use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use outrigger_proto::v1::{self, outcome::Kind};

use super::{Error, completion::Completion};
use crate::Durability;

/// The answer to an operation that is under way; await it to learn the outcome.
///
/// Dropping it does not take the operation back.
#[must_use = "await it to learn the outcome"]
#[derive(Debug)]
pub struct Pending<T> {
    completion: Arc<Completion>,
    index: usize,
    answer: PhantomData<fn() -> T>,
}

/// Where a sent message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReceipt {
    /// The queue of the topic.
    pub queue: u32,
    /// The place in that queue. Meaningless for a delayed message, whose place is found
    /// when it falls due. It and `queue` are not known yet, and 0, when `durability` is
    /// less than [`Durability::Synced`].
    pub offset: u64,
    /// It had been stored before, by an attempt whose answer was lost; `queue` and
    /// `offset` are not known then.
    pub duplicate: bool,
    /// The level that was reached, at least what was asked for.
    pub durability: Durability,
}

/// A durable Prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareReceipt {
    /// It had been prepared before with the same content.
    pub repeated_call: bool,
}

/// A durable Resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolveReceipt {
    /// The same verdict had been recorded before.
    pub repeated_call: bool,
}

/// What an operation is answered with.
pub trait Answer: Sized + sealed::FromOutcome {}

impl Answer for SendReceipt {}
impl Answer for PrepareReceipt {}
impl Answer for ResolveReceipt {}

mod sealed {
    use super::{Error, Kind};

    pub trait FromOutcome {
        fn from_outcome(kind: Option<Kind>) -> Result<Self, Error>
        where
            Self: Sized;
    }
}

impl sealed::FromOutcome for SendReceipt {
    fn from_outcome(kind: Option<Kind>) -> Result<Self, Error> {
        match kind {
            Some(Kind::Sent(receipt)) => Ok(receipt.into()),
            other => Err(unexpected(other)),
        }
    }
}

impl sealed::FromOutcome for PrepareReceipt {
    fn from_outcome(kind: Option<Kind>) -> Result<Self, Error> {
        match kind {
            Some(Kind::Prepared(response)) => Ok(Self {
                repeated_call: response.repeated_call,
            }),
            other => Err(unexpected(other)),
        }
    }
}

impl sealed::FromOutcome for ResolveReceipt {
    fn from_outcome(kind: Option<Kind>) -> Result<Self, Error> {
        match kind {
            Some(Kind::Resolved(response)) => Ok(Self {
                repeated_call: response.repeated_call,
            }),
            other => Err(unexpected(other)),
        }
    }
}

impl From<v1::SendReceipt> for SendReceipt {
    fn from(receipt: v1::SendReceipt) -> Self {
        Self {
            queue: receipt.queue,
            offset: receipt.offset,
            duplicate: receipt.duplicate,
            durability: receipt.durability().into(),
        }
    }
}

fn unexpected(kind: Option<Kind>) -> Error {
    match kind {
        Some(Kind::Error(error)) => Error::Refused(error.into()),
        other => Error::Protocol {
            problem: format!("the outcome is of another kind than the operation: {other:?}"),
        },
    }
}

impl<T> Pending<T> {
    pub(super) fn new(completion: Arc<Completion>, index: usize) -> Self {
        Self {
            completion,
            index,
            answer: PhantomData,
        }
    }
}

impl<T: Answer> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.completion
            .poll(self.index, context.waker())
            .map(|outcome| T::from_outcome(outcome?.kind))
    }
}
