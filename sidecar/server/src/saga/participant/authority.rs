use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use outrigger_core::{breaker::Breaker, retry::full_jitter};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    Call, Endpoint, KeptBack, NotTried, Options,
    ended::{self, Ended},
    endpoint::Protocol,
    grpc::GrpcClient,
    http::HttpClient,
};

/// What fails together: how many calls it gets, and whether it gets any.
#[derive(Debug)]
pub(super) struct Authority {
    client: Client,
    options: Arc<Options>,
    /// What the breaker's times count from.
    started: Instant,
    permits: Semaphore,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
    calls: AtomicU64,
}

#[derive(Debug)]
enum Client {
    Http(Box<HttpClient>),
    Grpc(GrpcClient),
}

/// Leave for one call. If it is dropped without a word, the call was given up.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    authority: &'a Authority,
    id: u128,
    is_over: bool,
    /// For others when the call has ended.
    _permit: SemaphorePermit<'a>,
}

/// Where the breaker of an authority stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

impl BreakerState {
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

impl Authority {
    /// The authority of an endpoint.
    pub(super) fn new(endpoint: &Endpoint, options: &Arc<Options>) -> Self {
        Self {
            client: match endpoint.protocol() {
                Protocol::Http => Client::Http(Box::new(HttpClient::new(options))),
                Protocol::Grpc => Client::Grpc(GrpcClient::new(endpoint.uri(), options)),
            },
            options: Arc::clone(options),
            started: Instant::now(),
            permits: Semaphore::new(options.calls_per_authority_max.max(1)),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::default(),
            calls: AtomicU64::new(0),
        }
    }

    /// Waits for the leave to make one call, or says why there will be none.
    pub(super) async fn leave(&self) -> Result<Leave<'_>, NotTried> {
        // Nobody queues for what is closed.
        self.kept_back().map_or(Ok(()), Err)?;
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.turn().await?,
        };
        // It may have opened meanwhile, and then everybody who waited goes away at once.
        let id = u128::from(self.calls.fetch_add(1, Ordering::Relaxed));
        if !self.breaker().admit(self.now_ms(), id) {
            let wait = self.closed_for().unwrap_or_default();
            return Err(self.not_tried(wait, KeptBack::BreakerOpen));
        }
        Ok(Leave {
            authority: self,
            id,
            is_over: false,
            _permit: permit,
        })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, NotTried> {
        let limit = self.options.waiting_calls_per_authority_max;
        let Some(_place) = Place::take(&self.waiting, limit) else {
            return Err(self.not_tried(Duration::ZERO, KeptBack::QueueFull { limit }));
        };
        let limit_ms = self.options.waiting_ms_max;
        let turn = tokio::time::timeout(Duration::from_millis(limit_ms), self.permits.acquire());
        match turn.await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.not_tried(Duration::ZERO, KeptBack::Busy { limit_ms })),
        }
    }

    /// What a call would be told now instead of being tried.
    fn kept_back(&self) -> Option<NotTried> {
        let wait = self.closed_for()?;
        Some(self.not_tried(wait, KeptBack::BreakerOpen))
    }

    /// For how long no call passes; nothing, if one would.
    pub(super) fn closed_for(&self) -> Option<Duration> {
        // A probe that is under way ends some time.
        let at_ms = self.breaker().passes_at_ms().unwrap_or(u64::MAX);
        let now_ms = self.now_ms();
        if at_ms <= now_ms {
            return None;
        }
        let longest_ms = self.options.breaker.open_base_ms;
        let wait_ms = if at_ms == u64::MAX {
            longest_ms
        } else {
            at_ms - now_ms
        };
        Some(Duration::from_millis(wait_ms))
    }

    fn not_tried(&self, wait: Duration, why: KeptBack) -> NotTried {
        not_tried(wait, why, &self.options)
    }

    pub(super) fn state(&self) -> BreakerState {
        let breaker = *self.breaker();
        match breaker.passes_at_ms() {
            Some(_) if breaker.is_closed() => BreakerState::Closed,
            Some(_) => BreakerState::Open,
            None => BreakerState::HalfOpen,
        }
    }

    /// How many calls wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many calls are under way.
    pub(super) fn calling(&self) -> usize {
        let all = self.options.calls_per_authority_max.max(1);
        all.saturating_sub(self.permits.available_permits())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// With jitter, so that those who were sent away together do not come back together.
pub(super) fn not_tried(wait: Duration, why: KeptBack, options: &Options) -> NotTried {
    let ceiling_ms = options.not_tried_jitter_ms;
    let jitter_ms = full_jitter(ceiling_ms, ceiling_ms, 1, rand::random()).max(1);
    NotTried {
        retry_after: wait + Duration::from_millis(jitter_ms),
        why,
    }
}

impl Leave<'_> {
    /// Makes the call, however long it takes.
    pub(super) async fn call(&self, call: &Call) -> Ended {
        match &self.authority.client {
            Client::Http(client) => client.call(call).await,
            Client::Grpc(client) => client.call(call).await,
        }
    }

    /// The call has ended, and says so much about the authority.
    pub(super) fn ended(mut self, authority: ended::Authority) {
        self.is_over = true;
        let Self {
            authority: called,
            id,
            ..
        } = &self;
        let now_ms = called.now_ms();
        let mut breaker = called.breaker();
        match authority {
            ended::Authority::Reached => breaker.reached(),
            ended::Authority::Unreachable => {
                let options = &called.options.breaker;
                breaker.unreachable(now_ms, *id, rand::random(), options);
            }
            ended::Authority::Unknown => breaker.given_up(now_ms, *id),
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let now_ms = self.authority.now_ms();
            self.authority.breaker().given_up(now_ms, self.id);
        }
    }
}

/// A place in a queue that is given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, limit: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::Relaxed) < limit {
            return Some(Self(taken));
        }
        taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
