use std::{sync::Arc, time::Duration};

use outrigger_core::{
    retry::full_jitter,
    saga::{
        Definition, Record, Saga,
        event::Start,
        ledger::{Answer, Command, OwnerId, View},
        record::Status,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{Options, Surroundings};
use crate::saga::store::{Refused, Store, Unavailable, Why};

/// Asks an executor. Cheap to clone.
///
/// It goes on working when the executor is gone or drained: what is started is then for
/// whoever takes it over, and what is waited for is read from time to time.
#[derive(Clone)]
pub struct Handle {
    store: Arc<dyn Store>,
    options: Arc<Options>,
    surroundings: Surroundings,
    requests: mpsc::Sender<Request>,
}

/// What a handle asks its executor for.
pub(super) enum Request {
    Start(Box<NewSaga>),
    /// Somebody has recorded something about it, or has given it free.
    Poke(String),
    Wait {
        saga: String,
        settled: oneshot::Sender<Notice>,
    },
    Drain {
        limit: Duration,
        done: oneshot::Sender<()>,
    },
}

/// A saga that is about to be started.
pub(super) struct NewSaga {
    /// What was asked for.
    pub(super) asked: Start,
    /// The same, with the times that were left out.
    pub(super) start: Start,
    pub(super) saga: Saga,
    pub(super) started: oneshot::Sender<Result<Started, Failed>>,
}

/// What an executor tells those who wait for a saga.
pub(super) enum Notice {
    Settled(Box<Record>),
    /// It is not carried out here.
    Elsewhere,
}

/// A saga is there, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// False: it was there already.
    pub created: bool,
}

/// What became of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It has ended, or waits for a person: the status tells. That is durable.
    Settled(Box<Record>),
    /// The time is over.
    TimeOver,
    /// There is no such saga.
    NotFound,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It is not allowed, and nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nobody knows whether it was done. Doing it again is safe.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Handle {
    pub(super) fn new(
        store: Arc<dyn Store>,
        options: Arc<Options>,
        surroundings: Surroundings,
    ) -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(options.requests_max.max(1));
        let handle = Self {
            store,
            options,
            surroundings,
            requests,
        };
        (handle, received)
    }

    /// Who this executor is.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        self.surroundings.owner
    }

    /// Starts a saga, and carries it out here if there is room. The answer comes when it is
    /// durable that it has started. Starting the same one again changes nothing.
    ///
    /// A `start_at_ms` of 0 is at once, and without a deadline it has that of its definition,
    /// counted from its start.
    ///
    /// # Errors
    /// When it is refused, or nobody knows.
    pub async fn start(
        &self,
        definition: Arc<Definition>,
        start: Start,
    ) -> Result<Started, Failed> {
        let asked = start.clone();
        let mut concrete = start;
        if concrete.start_at_ms == 0 {
            concrete.start_at_ms = (self.surroundings.now_ms)();
        }
        let deadline_ms = definition.deadline_ms();
        let deadline_at_ms = deadline_ms.map(|ms| concrete.start_at_ms.saturating_add(ms));
        concrete.deadline_at_ms = concrete.deadline_at_ms.or(deadline_at_ms);
        let record = Record::start(definition, concrete.clone()).map_err(|error| Refused {
            why: Why::StartInvalid,
            message: error.to_string(),
        })?;
        let (started, answer) = oneshot::channel();
        let request = Request::Start(Box::new(NewSaga {
            asked: asked.clone(),
            start: concrete,
            saga: Saga::recover(record),
            started,
        }));
        if self.requests.send(request).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        // The executor is gone, perhaps with the start under way. The same start again changes
        // nothing.
        let command = Command::Start {
            start: asked,
            owner: None,
        };
        match self.submit_to_store(command).await? {
            Answer::Started { created, .. } => Ok(Started { created }),
            other => Err(unexpected(&other)),
        }
    }

    /// Submits an act or a report, and tells the executor of it if it owns the saga.
    ///
    /// # Errors
    /// When it is refused, or nobody knows.
    pub async fn act(&self, command: Command) -> Result<Answer, Failed> {
        let saga = saga_of(&command).unwrap_or_default().to_owned();
        let answer = self.submit_to_store(command).await?;
        if let Answer::Acted { owner, .. } = &answer
            && owner.is_none_or(|owner| owner == self.owner())
        {
            self.poke(&saga);
        }
        Ok(answer)
    }

    /// Somebody else has recorded something about this saga: the executor looks at it, if it
    /// owns it, and otherwise asks at once for sagas that nobody owns. Telling is not
    /// necessary: the executor hears of it with its next beat.
    pub fn poke(&self, saga: &str) {
        let _ = self.requests.try_send(Request::Poke(saga.to_owned()));
    }

    /// Waits until a saga has ended or waits for a person, but not after `until`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn wait(&self, saga: &str, until: Instant) -> Result<Waited, Failed> {
        self.wait_for(saga, until, is_settled).await
    }

    pub(super) async fn wait_for(
        &self,
        saga: &str,
        until: Instant,
        is_enough: fn(&Record) -> bool,
    ) -> Result<Waited, Failed> {
        let mut round = 0;
        loop {
            match self.wait_here(saga, until).await {
                Some(Notice::Settled(record)) if is_enough(&record) => {
                    return Ok(Waited::Settled(record));
                }
                Some(Notice::Settled(_) | Notice::Elsewhere) => {}
                None => return Ok(Waited::TimeOver),
            }
            match self.store.read(saga).await? {
                None => return Ok(Waited::NotFound),
                Some(View { record, .. }) if is_enough(&record) => {
                    return Ok(Waited::Settled(Box::new(record)));
                }
                Some(_) => {}
            }
            let wait_ms = self.poll_ms(round);
            round += 1;
            let next = Instant::now() + Duration::from_millis(wait_ms);
            if next >= until {
                sleep_until(until).await;
                return Ok(Waited::TimeOver);
            }
            sleep_until(next).await;
        }
    }

    /// Takes nothing more, begins no call, waits for what is under way but no longer than
    /// `limit`, gives everything back, and ends the executor.
    pub async fn drain(&self, limit: Duration) {
        let (done, drained) = oneshot::channel();
        let request = Request::Drain { limit, done };
        if self.requests.send(request).await.is_ok() {
            // An error says that it is gone.
            let _ = drained.await;
        }
    }

    async fn wait_here(&self, saga: &str, until: Instant) -> Option<Notice> {
        let (settled, notice) = oneshot::channel();
        let saga = saga.to_owned();
        let left = until.saturating_duration_since(Instant::now());
        let asked = async {
            let request = Request::Wait { saga, settled };
            if self.requests.send(request).await.is_err() {
                return Notice::Elsewhere;
            }
            notice.await.unwrap_or(Notice::Elsewhere)
        };
        timeout(left, asked).await.ok()
    }

    fn poll_ms(&self, round: u32) -> u64 {
        let (base_ms, cap_ms) = (self.options.retry_base_ms, self.options.poll_cap_ms);
        // Half of it for sure, so that nobody asks all the time.
        let ceiling_ms = full_jitter(base_ms, cap_ms, round.saturating_add(1), u64::MAX);
        ceiling_ms.max(1)
    }

    async fn submit_to_store(&self, command: Command) -> Result<Answer, Failed> {
        let saga = saga_of(&command).unwrap_or_default();
        let group = self.store.placement().saga(saga);
        let answers = self.store.submit(group, vec![command]).await?;
        match answers.into_iter().next() {
            Some(answer) => Ok(answer?),
            None => Err(Failed::Unavailable(Unavailable {
                reason: "it was not answered".to_owned(),
            })),
        }
    }
}

/// Nothing happens any more, or nothing without a person.
pub(super) fn is_settled(record: &Record) -> bool {
    match record.status() {
        Status::Completed | Status::Undone | Status::Parked { .. } => true,
        Status::Working(_) => false,
    }
}

fn saga_of(command: &Command) -> Option<&str> {
    match command {
        Command::Start { start, .. } => Some(&start.saga),
        Command::Append { saga, .. } | Command::Act { saga, .. } | Command::Report { saga, .. } => {
            Some(saga)
        }
        Command::Define { .. } | Command::Own { .. } => None,
    }
}

pub(super) fn unexpected(answer: &Answer) -> Failed {
    Failed::Unavailable(Unavailable {
        reason: format!("it was answered with {answer:?}"),
    })
}
