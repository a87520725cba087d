//! What an executor in a simulated process asks of the world outside of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use outrigger::saga::{
    executor::{Messages, Outgoing, Participants},
    participant::{Call, Endpoint, KeptBack, NotTried},
    store::{Refused, Store, Unavailable},
};
use outrigger_core::{
    placement::Placement,
    saga::{
        Definition, Outcome,
        definition::Version,
        ledger::{Answer, Command, View},
    },
};
use tokio::sync::oneshot;

/// How long calls to a host are kept back that is known to be away.
const KEPT_BACK_MS: u64 = 40;

pub(super) type Submitted = Result<Vec<Result<Answer, Refused>>, Unavailable>;
pub(super) type Seen = Result<Option<View>, Unavailable>;
pub(super) type Called = Result<Outcome, NotTried>;

/// One thing that is asked for, and whom to answer.
pub(super) enum Request {
    Submit(Vec<Command>, oneshot::Sender<Submitted>),
    Read(String, oneshot::Sender<Seen>),
    Call(Box<Call>, oneshot::Sender<Called>),
    Publish(Outgoing, oneshot::Sender<Result<(), String>>),
}

/// What one process asks for, in order, and which hosts it takes for dead.
#[derive(Default)]
struct Outside {
    requests: Vec<Request>,
    away: Option<String>,
}

/// The world as one process sees it: the store of sagas, participants, and messages. Cheap to
/// clone.
#[derive(Clone)]
pub(super) struct Access {
    outside: Arc<Mutex<Outside>>,
    definitions: Arc<BTreeMap<Version, Arc<Definition>>>,
    placement: Placement,
}

impl Access {
    pub(super) fn new(
        definitions: Arc<BTreeMap<Version, Arc<Definition>>>,
        placement: Placement,
    ) -> Self {
        Self {
            outside: Arc::default(),
            definitions,
            placement,
        }
    }

    /// What was asked for since the last time.
    pub(super) fn take(&self) -> Vec<Request> {
        self.with(|outside| std::mem::take(&mut outside.requests))
    }

    /// Calls to this host are kept back from now on; nobody's, without one.
    pub(super) fn set_away(&self, host: Option<String>) {
        self.with(|outside| outside.away = host);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Outside) -> T) -> T {
        work(&mut self.outside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
        unanswered: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let (answer, answered) = oneshot::channel();
        self.with(|outside| outside.requests.push(request(answer)));
        async move { answered.await.unwrap_or_else(|_| unanswered()) }.boxed()
    }
}

fn gone() -> Unavailable {
    Unavailable {
        reason: "the world is gone".to_owned(),
    }
}

impl Store for Access {
    fn placement(&self) -> Placement {
        self.placement
    }

    fn submit(&self, _group: u32, commands: Vec<Command>) -> BoxFuture<'static, Submitted> {
        self.ask(|answer| Request::Submit(commands, answer), || Err(gone()))
    }

    fn read(&self, saga: &str) -> BoxFuture<'static, Seen> {
        let saga = saga.to_owned();
        self.ask(|answer| Request::Read(saga, answer), || Err(gone()))
    }

    fn definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> BoxFuture<'static, Result<Option<Arc<Definition>>, Unavailable>> {
        let wanted = |definition: &&Arc<Definition>| {
            let same = version.is_none_or(|version| definition.version() == version);
            definition.name() == name && same
        };
        let found = self.definitions.values().find(wanted).cloned();
        async move { Ok(found) }.boxed()
    }
}

impl Participants for Access {
    fn call(&self, call: Call) -> BoxFuture<'static, Called> {
        let not_tried = || {
            Err(NotTried {
                retry_after: Duration::from_millis(KEPT_BACK_MS),
                why: KeptBack::BreakerOpen,
            })
        };
        self.ask(|answer| Request::Call(Box::new(call), answer), not_tried)
    }

    fn kept_back_for(&self, endpoint: &Endpoint) -> Option<Duration> {
        let away = self.with(|outside| outside.away.clone())?;
        let kept_back = endpoint.url().contains(&format!("//{away}:"));
        kept_back.then_some(Duration::from_millis(KEPT_BACK_MS))
    }
}

impl Messages for Access {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<(), String>> {
        let gone = || Err("the world is gone".to_owned());
        self.ask(|answer| Request::Publish(message, answer), gone)
    }
}
