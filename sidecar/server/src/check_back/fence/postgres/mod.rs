//! The fence on PostgreSQL.

mod failure;
mod lane;
mod options;
mod rows;
mod session;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::{Semaphore, TryAcquireError},
    time::timeout,
};
use uuid::Uuid;

use super::{super::Undecided, Answer, FenceChecker};
use lane::Lane;
pub use options::PostgresOptions;

/// Checks against one PostgreSQL database.
///
/// Checks are pipelined, and a statement that waits for a lock holds up everything behind
/// it on its connection. So there are two kinds of connections. The quick ones give up a
/// lock almost at once, so that a stuck local transaction costs the thousands beside it a
/// few milliseconds. What they found locked is asked once more on a patient connection,
/// one check at a time, where the local transaction gets time to end; when all of these
/// are taken, the answer is "unknown".
///
/// Not supported yet: TLS. Connect over a Unix socket or a trusted network.
pub struct PostgresFence {
    quick: Vec<Lane>,
    next_quick: AtomicUsize,
    patient: Vec<(Semaphore, Lane)>,
    in_flight: Semaphore,
    options: Arc<PostgresOptions>,
}

impl PostgresFence {
    /// Connects on the first check.
    pub fn new(options: PostgresOptions) -> Self {
        let options = Arc::new(options);
        let quick = || Lane::new(Arc::clone(&options), options.quick_lock_timeout_ms);
        let patient = || Lane::new(Arc::clone(&options), options.lock_timeout_ms);
        Self {
            quick: (0..options.quick_connections_max.max(1))
                .map(|_| quick())
                .collect(),
            next_quick: AtomicUsize::new(0),
            patient: (0..options.patient_connections_max)
                .map(|_| (Semaphore::new(1), patient()))
                .collect(),
            in_flight: Semaphore::new(options.in_flight_checks_max),
            options,
        }
    }

    async fn decide(&self, id: Uuid, producer_group: &str) -> Result<Answer, Undecided> {
        // Never closed, so the only error is none.
        let _place = self.in_flight.acquire().await;
        match self.ask(self.quick_lane(), id, producer_group).await {
            Err(Undecided::Locked { .. }) => self.ask_patiently(id, producer_group).await,
            answered => answered,
        }
    }

    async fn ask_patiently(&self, id: Uuid, producer_group: &str) -> Result<Answer, Undecided> {
        for (place, lane) in &self.patient {
            match place.try_acquire() {
                Ok(_place) => return self.ask(Some(lane), id, producer_group).await,
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {}
            }
        }
        Err(Undecided::Locked {
            database: self.options.database.clone(),
            limit_ms: self.options.quick_lock_timeout_ms,
        })
    }

    /// Bounds the wait from this side too: a network that swallows packets sends no error.
    async fn ask(
        &self,
        lane: Option<&Lane>,
        id: Uuid,
        producer_group: &str,
    ) -> Result<Answer, Undecided> {
        let limit_ms = self.options.answer_timeout_ms;
        let timed_out = || Undecided::TimedOut {
            target: self.options.database.clone(),
            limit_ms,
        };
        let Some(lane) = lane else {
            return Err(timed_out());
        };
        let session = lane.session().await?;
        match timeout(
            Duration::from_millis(limit_ms),
            session.decide(id, producer_group),
        )
        .await
        {
            Ok(answered) => answered,
            Err(_elapsed) => {
                lane.forget(&session).await;
                Err(timed_out())
            }
        }
    }

    fn quick_lane(&self) -> Option<&Lane> {
        let turn = self.next_quick.fetch_add(1, Ordering::Relaxed);
        self.quick.get(turn % self.quick.len().max(1))
    }
}

impl FenceChecker for PostgresFence {
    fn check<'a>(&'a self, transaction_id: Uuid, producer_group: &'a str) -> BoxFuture<'a, Answer> {
        self.decide(transaction_id, producer_group)
            .map(Answer::from)
            .boxed()
    }
}
