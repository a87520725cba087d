//! Idempotency guards: a record per key that lets one holder work and remembers the result.
//!
//! ```no_run
//! # async fn example(client: outrigger_sdk::Client) -> Result<(), outrigger_sdk::Refusal> {
//! use outrigger_sdk::guard::Acquired;
//!
//! let guards = client.guard("payments");
//! match guards.acquire("payment-17").await? {
//!     Acquired::Held(held) => {
//!         // ... pay, giving `held.fencing()` to whatever can compare it ...
//!         held.complete("receipt 4711").await?;
//!     }
//!     Acquired::Done(result) => println!("paid before: {result:?}"),
//!     Acquired::Busy { retry_after } => println!("somebody is at it, try after {retry_after:?}"),
//!     Acquired::Mismatch => println!("the key was used for something else"),
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use bytes::Bytes;
use outrigger_proto::v1::{self, guard_acquire_response::Outcome, guard_client::GuardClient};
use tonic::transport::Channel;

use crate::Refusal;

/// Where guards are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// What the sidecar is configured for; embedded unless set otherwise.
    #[default]
    Configured,
    /// In the log store: replicated and synced.
    Embedded,
    /// In Redis; what a failover of Redis loses is lost.
    Redis,
}

/// The guards of one scope. Made by [`Client::guard`](crate::Client::guard); cheap to clone.
#[derive(Debug, Clone)]
pub struct Guards {
    client: GuardClient<Channel>,
    scope: String,
    backend: Backend,
    mode: v1::GuardMode,
    fingerprint: Bytes,
    lease: Option<Duration>,
    ttl: Option<Duration>,
}

/// The answer to [`Guards::acquire`].
#[derive(Debug)]
pub enum Acquired {
    /// It is ours: do the work, then [`complete`](Held::complete) it.
    Held(Held),
    /// Somebody else is at it.
    Busy {
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// It has been done; the recorded result. Empty with [`Guards::set_nx`].
    Done(Bytes),
    /// The key is in use with another fingerprint.
    Mismatch,
}

/// The token no longer holds the guard: its deadline has passed and somebody else has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("guard {key:?} is lost: its lease has ended and somebody else has it")]
pub struct Lost {
    /// The key.
    pub key: String,
}

/// Why a held guard could not be extended, completed or released.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds it now.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The sidecar said no, or could not be reached.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal,
            Error::Lost(lost) => Self {
                code: tonic::Code::FailedPrecondition,
                reason: "GUARD_LOST".to_owned(),
                message: lost.to_string(),
                metadata: [
                    ("field".to_owned(), "key".to_owned()),
                    ("value".to_owned(), lost.key),
                ]
                .into(),
            },
        }
    }
}

impl Guards {
    pub(crate) fn new(channel: Channel, scope: String) -> Self {
        Self {
            client: GuardClient::new(channel),
            scope,
            backend: Backend::default(),
            mode: v1::GuardMode::Record,
            fingerprint: Bytes::new(),
            lease: None,
            ttl: None,
        }
    }

    /// Where the guards are kept.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Remembers only that a key is taken, as Redis' `SET NX PX` does: no result, no
    /// fingerprint.
    #[must_use]
    pub fn set_nx(mut self) -> Self {
        self.mode = v1::GuardMode::SetNx;
        self
    }

    /// A digest of the request, at most 64 bytes: another one for the same key is answered
    /// with [`Acquired::Mismatch`].
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: impl Into<Bytes>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// How long a holder has before somebody else may take over; 1 ms to 12 h, default
    /// 30 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long a result or counter is remembered; 1 s to 365 days, default 7 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Tries to become the one who works on `key`, at most 512 bytes.
    pub async fn acquire(&self, key: impl Into<String>) -> Result<Acquired, Refusal> {
        let key = key.into();
        let token = crate::message::new_id().to_string();
        self.acquire_as(key, token).await
    }

    /// As [`Guards::acquire`] with a token of the caller's, at most 64 characters: the
    /// same token may acquire again what it holds already.
    pub async fn acquire_as(
        &self,
        key: impl Into<String>,
        token: impl Into<String>,
    ) -> Result<Acquired, Refusal> {
        let key = key.into();
        let token = token.into();
        let request = v1::GuardAcquireRequest {
            guard: Some(self.key(&key)),
            token: token.clone(),
            fingerprint: self.fingerprint.clone(),
            lease_ms: millis(self.lease),
        };
        let response = self.client.clone().acquire(request).await?.into_inner();
        Ok(match response.outcome {
            Some(Outcome::Acquired(acquired)) => Acquired::Held(Held {
                guards: Box::new(self.clone()),
                key,
                token,
                fencing: acquired.fencing,
                takeover: acquired.takeover,
            }),
            Some(Outcome::Busy(busy)) => Acquired::Busy {
                retry_after: Duration::from_millis(busy.retry_after_ms),
            },
            Some(Outcome::Done(done)) => Acquired::Done(done.result),
            Some(Outcome::Mismatch(_)) => Acquired::Mismatch,
            None => return Err(tonic::Status::internal("an acquire without an outcome").into()),
        })
    }

    /// Counts `key` up, and returns the count: 1 for the first call.
    pub async fn increment(&self, key: impl AsRef<str>) -> Result<u64, Refusal> {
        let request = v1::GuardIncrementRequest {
            guard: Some(self.key(key.as_ref())),
            ttl_ms: millis(self.ttl),
        };
        let response = self.client.clone().increment(request).await?.into_inner();
        Ok(response.count)
    }

    fn key(&self, key: &str) -> v1::GuardKey {
        let backend = match self.backend {
            Backend::Configured => v1::GuardBackend::Default,
            Backend::Embedded => v1::GuardBackend::Embedded,
            Backend::Redis => v1::GuardBackend::Redis,
        };
        v1::GuardKey {
            scope: self.scope.clone(),
            key: key.to_owned(),
            backend: backend.into(),
            mode: self.mode.into(),
        }
    }
}

/// A guard that we hold. Dropping it gives nothing back: the lease has to end first.
#[derive(Debug)]
#[must_use = "complete or release it"]
pub struct Held {
    guards: Box<Guards>,
    key: String,
    token: String,
    fencing: u64,
    takeover: bool,
}

impl Held {
    /// Grows with every holder of this key. Give it to whatever the effect writes to, and
    /// let that refuse a lower one than it has seen.
    pub fn fencing(&self) -> u64 {
        self.fencing
    }

    /// True when an earlier holder let its lease end: its effect may have happened.
    pub fn is_takeover(&self) -> bool {
        self.takeover
    }

    /// The token that holds it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Prolongs the lease, from now.
    pub async fn extend(&self) -> Result<(), Error> {
        let request = v1::GuardExtendRequest {
            guard: Some(self.guards.key(&self.key)),
            token: self.token.clone(),
            lease_ms: millis(self.guards.lease),
        };
        let response = self.guards.client.clone().extend(request).await;
        self.still_held(response)
    }

    /// Records the result, at most 64 KiB, for everybody who comes later.
    pub async fn complete(self, result: impl Into<Bytes>) -> Result<(), Error> {
        let request = v1::GuardCompleteRequest {
            guard: Some(self.guards.key(&self.key)),
            token: self.token.clone(),
            result: result.into(),
            ttl_ms: millis(self.guards.ttl),
        };
        let response = self.guards.client.clone().complete(request).await;
        self.still_held(response)
    }

    /// Gives it back without a result: the work was not done.
    pub async fn release(self) -> Result<(), Error> {
        let request = v1::GuardReleaseRequest {
            guard: Some(self.guards.key(&self.key)),
            token: self.token.clone(),
        };
        let response = self.guards.client.clone().release(request).await;
        self.still_held(response)
    }

    /// How long one lease lasts.
    pub(crate) fn lease(&self) -> Duration {
        self.guards.lease.unwrap_or(Duration::from_secs(30))
    }

    fn still_held(
        &self,
        response: Result<tonic::Response<v1::GuardHoldResponse>, tonic::Status>,
    ) -> Result<(), Error> {
        let held = response.map_err(Refusal::from)?.into_inner().held;
        if held {
            Ok(())
        } else {
            Err(Error::Lost(Lost {
                key: self.key.clone(),
            }))
        }
    }
}

/// Zero asks for the sidecar's default.
fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    })
}
