//! Receiving messages.
//!
//! ```no_run
//! # async fn example(client: outrigger_sdk::Client) -> Result<(), outrigger_sdk::consumer::Error> {
//! use outrigger_sdk::Stop;
//!
//! let stop = Stop::new();
//! client
//!     .consumer("stock-service")
//!     .subscribe("orders", "created || changed")
//!     .concurrency(64)
//!     .stop(stop.clone())
//!     .run(|message| async move {
//!         println!("{}: {} bytes", message.id(), message.body().len());
//!         Ok(())
//!     })
//!     .await
//! # }
//! ```
//!
//! Every delivered message is leased. While its handler runs the lease is extended; when
//! the handler returns `Ok` the message is acknowledged, in a batch with others; when it
//! fails, the message is given back and comes again later ([`Retry`]). Messages of one
//! message group come one after the other, each when the one before is acknowledged.
//!
//! A message can arrive more than once, for instance when the consumer dies after its work
//! and before its ack. [`Guard`] and [`Received::once`] make the effect happen once.

mod desk;
mod error;
mod guard;
mod leases;
mod received;
mod retry;
mod stream;
mod worker;

use std::{future::Future, sync::Arc, time::Duration};

use outrigger_proto::v1;
use tokio::task::JoinSet;

pub use error::Error;
pub use guard::Guard;
pub use received::Received;
pub use retry::Retry;

use crate::{Client, Stop};
use desk::Desk;

/// Handlers that run at a time, unless set otherwise.
const CONCURRENCY: usize = 16;
/// The protocol's limit of outstanding credits.
const CREDITS_MAX: usize = 65_536;
const INVISIBLE_MS: u64 = 30_000;
/// The protocol's limits of a lease.
const INVISIBLE_MIN_MS: u64 = 1_000;
const INVISIBLE_MAX_MS: u64 = 12 * 3_600_000;
const HANDLE_TIME_MAX_MS: u64 = 3_600_000;
/// How long a stopped consumer waits for the confirmation of its last acks.
const STOP_FLUSH_MAX_MS: u64 = 10_000;

/// A consumer that is being put together. Made by [`Client::consumer`].
#[derive(Debug)]
#[must_use = "nothing is received before `run`"]
pub struct ConsumerBuilder {
    client: Client,
    consumer_group: Arc<str>,
    subscriptions: Vec<v1::Subscription>,
    concurrency: usize,
    prefetch: Option<usize>,
    invisible: Duration,
    handle_time_max: Duration,
    instance: String,
    guard: Option<Guard>,
    stop: Stop,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, consumer_group: String) -> Self {
        Self {
            client,
            consumer_group: consumer_group.into(),
            subscriptions: Vec::new(),
            concurrency: CONCURRENCY,
            prefetch: None,
            invisible: Duration::from_millis(INVISIBLE_MS),
            handle_time_max: Duration::from_millis(HANDLE_TIME_MAX_MS),
            instance: String::new(),
            guard: None,
            stop: Stop::new(),
        }
    }

    /// Receives from `topic` what `filter` lets through: tags such as `created || changed`,
    /// or `*` for everything. 1 to 64 subscriptions.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<String>) -> Self {
        self.subscriptions.push(v1::Subscription {
            topic: topic.into(),
            filter: filter.into(),
        });
        self
    }

    /// How many handlers run at a time; default 16.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.clamp(1, CREDITS_MAX);
        self
    }

    /// How many messages wait here, leased, for a handler to become free; by default as many
    /// as run at a time. 0 leaves them to other members of the group, at the price of one
    /// round trip for each.
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = Some(prefetch);
        self
    }

    /// How long a message is leased; 1 s to 12 h, default 30 s. Extended while the handler
    /// runs, so this is how long it takes until somebody else gets it when this process
    /// dies.
    pub fn invisible(mut self, invisible: Duration) -> Self {
        self.invisible = invisible.clamp(
            Duration::from_millis(INVISIBLE_MIN_MS),
            Duration::from_millis(INVISIBLE_MAX_MS),
        );
        self
    }

    /// How long a handler may run before its lease is no longer extended, so that somebody
    /// else gets the message; default 1 h.
    pub fn handle_time_max(mut self, limit: Duration) -> Self {
        self.handle_time_max = limit;
        self
    }

    /// Names this consumer in listings; at most 128 characters.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = instance.into();
        self
    }

    /// Puts a guard around the handler, so that it does not run again for a message that it
    /// has dealt with.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Ends [`ConsumerBuilder::run`] gracefully when it is stopped.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Receives messages and runs `handler` for each, until it is stopped; reconnects by
    /// itself.
    ///
    /// Handlers run in a few tasks, one for each processor: they should not block. When the
    /// [`Stop`] handle is stopped no more messages are taken, those that wait are given
    /// back, the running handlers finish, and `run` returns when the last ack is confirmed.
    /// Dropping the future ends everything at once; the messages come again.
    pub async fn run<F, Fut>(self, handler: F) -> Result<(), Error>
    where
        F: Fn(Received) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Retry>> + Send + 'static,
    {
        if self.subscriptions.is_empty() {
            return Err(Error::NoSubscription);
        }
        let desk = Arc::new(self.desk());
        let guard = self
            .guard
            .as_ref()
            .map(|guard| guard.open(&self.client, &self.consumer_group));
        let work = Arc::new(worker::Work {
            desk: Arc::clone(&desk),
            handler,
            guard,
        });
        let mut workers = JoinSet::new();
        for concurrency in shares(self.concurrency) {
            workers.spawn(worker::work(Arc::clone(&work), concurrency));
        }
        let stopped = tokio::select! {
            refusal = stream::keep_open(&desk, self.client.channel(), &self.consumer_group) => {
                Err(Error::Refused(refusal))
            }
            () = keep_extending(&desk, self.invisible) => Ok(()),
            stopped = end(&desk, &mut workers, &self.stop) => stopped,
        };
        if stopped.is_err() {
            desk.stop();
            while workers.join_next().await.is_some() {}
        }
        stopped
    }

    fn desk(&self) -> Desk {
        let prefetch = self.prefetch.unwrap_or(self.concurrency);
        let capacity = self.concurrency.saturating_add(prefetch).min(CREDITS_MAX);
        let subscribe = v1::Subscribe {
            consumer_group: self.consumer_group.as_ref().to_owned(),
            subscriptions: self.subscriptions.clone(),
            invisible_ms: u64::try_from(self.invisible.as_millis()).unwrap_or(u64::MAX),
            instance: self.instance.clone(),
        };
        Desk::new(
            subscribe,
            u32::try_from(capacity).unwrap_or(u32::MAX),
            self.invisible,
            self.handle_time_max,
        )
    }
}

/// How many handlers each worker runs: as many workers as processors, and the concurrency
/// shared out among them.
fn shares(concurrency: usize) -> impl Iterator<Item = usize> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.min(concurrency).max(1);
    (0..workers)
        .map(move |worker| concurrency / workers + usize::from(worker < concurrency % workers))
}

async fn keep_extending(desk: &Desk, invisible: Duration) {
    // Leases are extended when a third of their time is over, and at the latest when half is.
    let mut ticks = tokio::time::interval(invisible / 6);
    loop {
        ticks.tick().await;
        desk.tick();
    }
}

/// Waits for the stop, then ends gracefully.
async fn end(desk: &Desk, workers: &mut JoinSet<()>, stop: &Stop) -> Result<(), Error> {
    stop.stopped().await;
    desk.stop();
    while workers.join_next().await.is_some() {}
    desk.close();
    let confirmed = async {
        while desk.unconfirmed() > 0 {
            desk.confirmed.notified().await;
        }
    };
    match tokio::time::timeout(Duration::from_millis(STOP_FLUSH_MAX_MS), confirmed).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::AcksUnconfirmed {
            unconfirmed: desk.unconfirmed(),
            limit_ms: STOP_FLUSH_MAX_MS,
        }),
    }
}
