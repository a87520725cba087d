use std::time::Duration;

use crate::{
    Client,
    guard::{Acquired, Backend, Error, Guards, Held},
};

/// What a consumer does so that a message which arrives again has no second effect: a
/// guard around the handler, keyed by the message id in the scope of the consumer group.
///
/// | guard | when the handler fails | when the consumer dies in the handler |
/// |---|---|---|
/// | [`record`](Guard::record) | runs again | runs again after the lease, with a higher fencing number |
/// | [`set_nx`](Guard::set_nx) | runs again | runs again after the lease |
/// | [`incr`](Guard::incr) | counts as a run | counts as a run; never more runs than asked for |
///
/// A guard stands **beside** the effect, so between the effect and the guard's completion
/// the consumer can die, and the effect is repeated. For an effect in a database,
/// [`Received::once`](super::Received::once) closes that gap: it writes the inbox in the
/// same transaction. Both together are right when most duplicates should be kept away from
/// the database.
#[derive(Debug, Clone)]
pub struct Guard {
    kind: Kind,
    backend: Backend,
    lease: Duration,
    ttl: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Record,
    SetNx,
    Incr { runs_max: u64 },
}

/// The default lease of a guard.
const LEASE_MS: u64 = 30_000;

impl Guard {
    /// The full record: who works on it, since when, with a fencing number.
    pub fn record() -> Self {
        Self::new(Kind::Record)
    }

    /// Only that the message is taken.
    pub fn set_nx() -> Self {
        Self::new(Kind::SetNx)
    }

    /// Counts the runs, and runs the handler at most `runs_max` times for a message. With 1
    /// the effect happens at most once, and is lost when the handler fails.
    pub fn incr(runs_max: u64) -> Self {
        Self::new(Kind::Incr { runs_max })
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            backend: Backend::default(),
            lease: Duration::from_millis(LEASE_MS),
            ttl: None,
        }
    }

    /// Where the guards are kept.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// How long a consumer that died keeps others away; 1 ms to 12 h, default 30 s. It is
    /// extended while the handler runs.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long it is remembered that a message is done; 1 s to 365 days, default 7 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    pub(super) fn open(&self, client: &Client, consumer_group: &str) -> OpenGuard {
        let mut guards = client
            .guard(consumer_group)
            .backend(self.backend)
            .lease(self.lease);
        if let Some(ttl) = self.ttl {
            guards = guards.ttl(ttl);
        }
        if self.kind == Kind::SetNx {
            guards = guards.set_nx();
        }
        OpenGuard {
            kind: self.kind,
            guards,
        }
    }
}

/// A guard with its connection.
pub(super) struct OpenGuard {
    kind: Kind,
    guards: Guards,
}

/// May the handler run?
pub(super) enum Entry {
    /// Yes, and afterwards the guard wants to know how it went.
    Run(Option<Held>),
    /// No: it has been done.
    Done,
    /// Not now.
    Later(Option<Duration>),
}

impl OpenGuard {
    pub(super) async fn enter(&self, message_id: &str) -> Entry {
        match self.kind {
            Kind::Record | Kind::SetNx => self.acquire(message_id).await,
            Kind::Incr { runs_max } => match self.guards.increment(message_id).await {
                Ok(count) if count <= runs_max => Entry::Run(None),
                Ok(_) => Entry::Done,
                Err(refusal) => unavailable(&refusal),
            },
        }
    }

    async fn acquire(&self, message_id: &str) -> Entry {
        match self.guards.acquire(message_id).await {
            Ok(Acquired::Held(held)) => Entry::Run(Some(held)),
            Ok(Acquired::Done(_)) => Entry::Done,
            Ok(Acquired::Busy { retry_after }) => Entry::Later(Some(retry_after)),
            // Without a fingerprint there is nothing to mismatch, except a key that somebody
            // else uses in this scope.
            Ok(Acquired::Mismatch) => Entry::Later(None),
            Err(refusal) => unavailable(&refusal),
        }
    }
}

/// Without an answer the handler must not run: the guard fails closed.
fn unavailable(refusal: &crate::Refusal) -> Entry {
    tracing::debug!(%refusal, "the guard could not be asked");
    Entry::Later(None)
}

/// Extends the guard until the work is done.
pub(super) async fn while_held<T>(held: Option<&Held>, work: impl Future<Output = T>) -> T {
    let Some(held) = held else {
        return work.await;
    };
    let extending = async {
        loop {
            tokio::time::sleep(held.lease() / 2).await;
            if let Err(error) = held.extend().await {
                tracing::debug!(%error, "the guard was not extended");
            }
        }
    };
    tokio::select! {
        biased;
        value = work => value,
        () = extending => std::future::pending().await,
    }
}

/// False when somebody else has taken over meanwhile, or the guard could not be told.
pub(super) async fn leave(held: Option<Held>, is_done: bool) -> bool {
    let Some(held) = held else {
        return true;
    };
    let left = if is_done {
        held.complete(bytes::Bytes::new()).await
    } else {
        held.release().await
    };
    match left {
        Ok(()) => true,
        Err(error @ (Error::Lost(_) | Error::Refused(_))) => {
            tracing::debug!(%error, "the guard was not told");
            false
        }
    }
}
