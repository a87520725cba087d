use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _, ready};
use outrigger_core::saga::ledger::{Answer, Command, Defined, Filter, Ledger, Limits, Page, View};
use outrigger_proto::{
    cluster::sagas_server::SagasServer,
    v1::{
        self, SagaCall, SagaDefinition, SagaHttpTarget, SagaInfo, SagaNothingToUndo, SagaStep,
        saga_call, saga_server::Saga as _, saga_step::UndoOrNothing,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes};
use tonic_types::StatusExt as _;

use crate::{
    clock::now_ms,
    edge::status::Failure,
    forward::{Forward, Ways},
    saga::{
        executor::{Executor, NoMessages, Options, Surroundings},
        keeper::{Keeper, Kept},
        participant::{self, Caller},
        remote::{self, PortStore},
        service::{Opened, SagaService},
    },
};

#[derive(Clone)]
struct Memory(Arc<Mutex<Ledger>>);

impl Kept for Memory {
    fn submit(&self, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Answer>, Failure>> {
        let mut ledger = self.0.lock().expect("not poisoned");
        let commands = commands.into_iter();
        let answers = commands.map(|command| ledger.apply(now_ms(), command));
        ready(Ok(answers.collect())).boxed()
    }

    fn saga(&self, id: &str) -> Result<Option<View>, Failure> {
        Ok(self.0.lock().expect("not poisoned").view(now_ms(), id))
    }

    fn sagas(&self, filter: &Filter, after: &str, limit: usize) -> Result<Page, Failure> {
        let ledger = self.0.lock().expect("not poisoned");
        Ok(ledger.list(now_ms(), filter, after, limit))
    }

    fn definitions(&self, name: Option<&str>) -> Vec<Defined> {
        self.0.lock().expect("not poisoned").definitions(name)
    }
}

pub(super) struct World {
    ledgers: Vec<Memory>,
    pub(super) service: SagaService,
    pub(super) closing: CancellationToken,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    pub(super) fn with_limits(limits: &Limits) -> Self {
        let ledger = || Memory(Arc::new(Mutex::new(Ledger::new(limits.clone()))));
        let ledgers: Vec<_> = (0..2).map(|_| ledger()).collect();
        let ways = ledgers.iter().map(|ledger| {
            let keeper = Keeper::new(ledger.clone());
            let keeper = SagasServer::new(keeper).max_decoding_message_size(16 << 20);
            Forward::here(Routes::new(keeper))
        });
        let ways = Ways::new(ways.collect()).expect("two data groups");
        let store = PortStore::new(ways, remote::Options::default());
        let (executor, _) = Executor::new(
            Arc::new(store.clone()),
            Arc::new(Caller::new(participant::Options::default())),
            Arc::new(NoMessages),
            Options::default(),
            Surroundings::real(),
        );
        let closing = CancellationToken::new();
        let service = SagaService::new(closing.clone());
        service.open(Opened { store, executor });
        Self {
            ledgers,
            service,
            closing,
        }
    }

    /// Sagas of each data group that have not ended.
    pub(super) fn counts(&self) -> Vec<u64> {
        let counts = self.ledgers.iter().map(|ledger| {
            let ledger = ledger.0.lock().expect("not poisoned");
            ledger.counts(now_ms()).not_ended
        });
        counts.collect()
    }

    pub(super) async fn define(&self, definition: SagaDefinition) -> v1::DefineSagaResponse {
        self.try_define(definition).await.expect("defined")
    }

    pub(super) async fn try_define(
        &self,
        definition: SagaDefinition,
    ) -> Result<v1::DefineSagaResponse, Status> {
        let request = v1::DefineSagaRequest {
            definition: Some(definition),
        };
        let defined = self.service.define(Request::new(request)).await;
        defined.map(tonic::Response::into_inner)
    }

    pub(super) async fn start(&self, id: &str, input: &'static [u8]) -> SagaInfo {
        let started = self.try_start(id, "order", input).await;
        started.expect("started")
    }

    pub(super) async fn try_start(
        &self,
        id: &str,
        definition: &str,
        input: &'static [u8],
    ) -> Result<SagaInfo, Status> {
        let request = v1::StartSagaRequest {
            saga_id: id.to_owned(),
            definition: definition.to_owned(),
            input: input.into(),
            ..Default::default()
        };
        let started = self.service.start(Request::new(request)).await;
        started.map(tonic::Response::into_inner)
    }

    pub(super) async fn park(&self, id: &str) -> SagaInfo {
        let request = v1::ParkSagaRequest {
            saga_id: id.to_owned(),
            by: "ann".to_owned(),
            reason: "to look at it".to_owned(),
        };
        let parked = self.service.park(Request::new(request)).await;
        parked.expect("parked").into_inner()
    }

    pub(super) async fn resume(&self, id: &str) -> SagaInfo {
        let request = v1::ResumeSagaRequest {
            saga_id: id.to_owned(),
            by: "ann".to_owned(),
            reason: "looked at".to_owned(),
        };
        let resumed = self.service.resume(Request::new(request)).await;
        resumed.expect("resumed").into_inner()
    }

    pub(super) async fn get(&self, id: &str) -> v1::SagaDetails {
        let request = v1::GetSagaRequest {
            saga_id: id.to_owned(),
        };
        let got = self.service.get(Request::new(request)).await;
        got.expect("there").into_inner()
    }
}

pub(super) fn http(url: &str) -> SagaCall {
    SagaCall {
        target: Some(saga_call::Target::Http(SagaHttpTarget {
            url: url.to_owned(),
        })),
        ..SagaCall::default()
    }
}

/// Reserve, which can be undone, then tell, which needs no undo.
pub(super) fn order() -> SagaDefinition {
    SagaDefinition {
        name: "order".to_owned(),
        deadline_ms: 600_000,
        payload_bytes_max: 1_000,
        steps: vec![
            SagaStep {
                name: "reserve".to_owned(),
                action: Some(http("http://127.0.0.1:9/reserve")),
                undo_or_nothing: Some(UndoOrNothing::Undo(http("http://127.0.0.1:9/release"))),
                ..SagaStep::default()
            },
            SagaStep {
                name: "tell".to_owned(),
                depends_on: vec!["reserve".to_owned()],
                action: Some(http("http://127.0.0.1:9/tell")),
                undo_or_nothing: Some(UndoOrNothing::NothingToUndo(SagaNothingToUndo {})),
                ..SagaStep::default()
            },
        ],
        ..SagaDefinition::default()
    }
}

pub(super) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
