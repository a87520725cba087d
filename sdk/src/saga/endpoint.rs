use std::{marker::PhantomData, time::Duration};

use outrigger_proto::v1::{
    SagaCall, SagaClassRetry, SagaErrorClass, SagaGrpcTarget, SagaHttpTarget, SagaMessageTarget,
    SagaRetry, SagaRetryPolicy, SagaSubSagaTarget, saga_call,
};

/// Whom a step calls: it takes an `I` and gives back an `O`, both as JSON.
#[derive(Debug)]
pub struct Endpoint<I, O> {
    pub(super) call: SagaCall,
    of: PhantomData<fn(I) -> O>,
}

impl<I, O> Clone for Endpoint<I, O> {
    fn clone(&self) -> Self {
        Self {
            call: self.call.clone(),
            of: PhantomData,
        }
    }
}

/// In which way the outcome of a call is unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// No connection.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The participant has too much to do.
    Overloaded,
    /// An answer that is none, or one that is larger than allowed.
    BadAnswer,
    /// Every other error.
    Internal,
    /// The participant has begun and is not done.
    Ongoing,
}

/// How often, and after which waits, a call without an outcome is repeated: capped
/// exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retry {
    policy: SagaRetryPolicy,
}

impl Retry {
    /// The default: waits up to 200 ms, then up to 400 ms and so on, up to 30 s; 16 attempts
    /// for actions that can still be undone, no end for everything else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ceiling of the first wait, at least 1 ms; it doubles with every attempt.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.policy.base_ms = millis(base);
        self
    }

    /// Ceiling of every wait; at most 1 day.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.policy.cap_ms = millis(cap);
        self
    }

    /// Calls without an outcome before they are given up; at least 1.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.policy.attempts_max = attempts.max(1);
        self.policy.unbounded = false;
        self
    }

    /// Never give up.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.policy.unbounded = true;
        self
    }
}

impl<I, O> Endpoint<I, O> {
    fn new(target: saga_call::Target) -> Self {
        let call = SagaCall {
            target: Some(target),
            ..SagaCall::default()
        };
        Self {
            call,
            of: PhantomData,
        }
    }

    /// POST to this address, at most 2,048 characters.
    #[must_use]
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(saga_call::Target::Http(SagaHttpTarget { url: url.into() }))
    }

    /// `outrigger.v1.Participant` at this address, and which of its operations.
    #[must_use]
    pub fn grpc(url: impl Into<String>, operation: impl Into<String>) -> Self {
        Self::new(saga_call::Target::Grpc(SagaGrpcTarget {
            url: url.into(),
            operation: operation.into(),
        }))
    }

    /// A message to this topic, then its reply.
    #[must_use]
    pub fn message(topic: impl Into<String>, tag: impl Into<String>) -> Self {
        Self::new(saga_call::Target::Message(SagaMessageTarget {
            topic: topic.into(),
            tag: tag.into(),
        }))
    }

    /// A saga of its own, in the latest version when this one is defined. It needs no undo:
    /// it is undone as the saga that it is.
    #[must_use]
    pub fn saga(definition: impl Into<String>) -> Self {
        Self::new(saga_call::Target::Saga(SagaSubSagaTarget {
            definition: definition.into(),
            version: String::new(),
        }))
    }

    /// How long one attempt may take; 10 ms to 1 h, default 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout_ms = millis(timeout);
        self
    }

    /// How a call without an outcome is repeated.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retries().otherwise = Some(retry.policy);
        self
    }

    /// How a call is repeated whose outcome is unsettled in this way, counted apart.
    #[must_use]
    pub fn retry_when(mut self, class: ErrorClass, retry: Retry) -> Self {
        let class = i32::from(match class {
            ErrorClass::Unreachable => SagaErrorClass::Unreachable,
            ErrorClass::TimedOut => SagaErrorClass::TimedOut,
            ErrorClass::Overloaded => SagaErrorClass::Overloaded,
            ErrorClass::BadAnswer => SagaErrorClass::BadAnswer,
            ErrorClass::Internal => SagaErrorClass::Internal,
            ErrorClass::Ongoing => SagaErrorClass::Ongoing,
        });
        let classes = &mut self.retries().classes;
        classes.retain(|other| other.class != class);
        classes.push(SagaClassRetry {
            class,
            policy: Some(retry.policy),
        });
        self
    }

    fn retries(&mut self) -> &mut SagaRetry {
        self.call.retry.get_or_insert_default()
    }
}

/// At least 1: zero would ask for the default.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
