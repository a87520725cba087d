use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use outrigger_proto::v1::{self, SagaStatus, saga_server::Saga};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What becomes of the next call.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is not carried out, and the answer is this.
    Refused(Code, &'static str),
    /// It is carried out, and the answer is lost.
    Lost,
}

/// Sagas in memory; a saga ends at the so-many-th time that somebody asks after it.
#[derive(Clone, Default)]
pub struct FakeSagas {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub fates: VecDeque<Fate>,
    /// How often a saga is asked after before it has ended.
    pub asked_before_end: u32,
    pub sagas: BTreeMap<String, Kept>,
    /// Every call that arrived.
    pub calls: Vec<&'static str>,
    /// How long calls asked to wait.
    pub waits_ms: Vec<u64>,
    pub reports: Vec<v1::ReportSagaStepRequest>,
    pub by_hand: Vec<(String, String)>,
}

#[derive(Default)]
pub struct Kept {
    pub start: v1::StartSagaRequest,
    pub started: u32,
    asked: u32,
}

impl FakeSagas {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Carries a call out as its fate says.
    fn call<T>(
        &self,
        name: &'static str,
        carry_out: impl FnOnce(&mut State) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let mut state = self.state();
        state.calls.push(name);
        match state.fates.pop_front() {
            None => carry_out(&mut state).map(Response::new),
            Some(Fate::Refused(code, reason)) => Err(refusal(code, reason)),
            Some(Fate::Lost) => {
                carry_out(&mut state)?;
                Err(Status::unavailable("the connection is lost"))
            }
        }
    }
}

fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "outrigger", []);
    Status::with_error_details(code, format!("because of {reason}"), details)
}

impl State {
    fn info(&mut self, id: &str, wait_ms: u64) -> Result<v1::SagaInfo, Status> {
        let ends_after = self.asked_before_end;
        let kept = self.sagas.get_mut(id);
        let kept = kept.ok_or_else(|| refusal(Code::NotFound, "SAGA_NOT_FOUND"))?;
        self.waits_ms.push(wait_ms);
        kept.asked += 1;
        let ended = kept.asked > ends_after;
        Ok(v1::SagaInfo {
            saga_id: id.to_owned(),
            definition: kept.start.definition.clone(),
            status: match ended {
                true => SagaStatus::Completed,
                false => SagaStatus::Running,
            }
            .into(),
            output: if ended { "[17]" } else { "" }.into(),
            ..v1::SagaInfo::default()
        })
    }

    fn act(&mut self, id: &str, by: String, reason: String) -> Result<v1::SagaInfo, Status> {
        self.by_hand.push((by, reason));
        self.info(id, 0)
    }
}

#[tonic::async_trait]
impl Saga for FakeSagas {
    async fn define(
        &self,
        request: Request<v1::DefineSagaRequest>,
    ) -> Result<Response<v1::DefineSagaResponse>, Status> {
        let definition = request.into_inner().definition.unwrap_or_default();
        self.call("define", |state| {
            Ok(v1::DefineSagaResponse {
                name: definition.name,
                version: "17".repeat(16),
                created: state.calls.iter().filter(|c| **c == "define").count() == 1,
            })
        })
    }

    async fn list_definitions(
        &self,
        _: Request<v1::ListSagaDefinitionsRequest>,
    ) -> Result<Response<v1::ListSagaDefinitionsResponse>, Status> {
        self.call("list_definitions", |_| Ok(Default::default()))
    }

    async fn start(
        &self,
        request: Request<v1::StartSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let request = request.into_inner();
        self.call("start", |state| {
            let (id, wait_ms) = (request.saga_id.clone(), request.wait_ms);
            let start = v1::StartSagaRequest {
                wait_ms: 0,
                ..request
            };
            let kept = state.sagas.entry(id.clone()).or_default();
            if kept.started > 0 && kept.start != start {
                return Err(refusal(Code::AlreadyExists, "SAGA_CONFLICT"));
            }
            kept.start = start;
            kept.started += 1;
            state.info(&id, wait_ms)
        })
    }

    async fn get(
        &self,
        request: Request<v1::GetSagaRequest>,
    ) -> Result<Response<v1::SagaDetails>, Status> {
        let id = request.into_inner().saga_id;
        self.call("get", |state| {
            let saga = Some(state.info(&id, 0)?);
            let input = state.sagas.get(&id).map(|kept| kept.start.input.clone());
            Ok(v1::SagaDetails {
                saga,
                input: input.unwrap_or_default(),
                ..v1::SagaDetails::default()
            })
        })
    }

    async fn list(
        &self,
        request: Request<v1::ListSagasRequest>,
    ) -> Result<Response<v1::ListSagasResponse>, Status> {
        let after = request.into_inner().page_token;
        self.call("list", |state| {
            let next = state.sagas.keys().find(|id| **id > after).cloned();
            let sagas = match &next {
                Some(id) => vec![state.info(id, 0)?],
                None => Vec::new(),
            };
            let more = next.filter(|id| state.sagas.keys().any(|other| other > id));
            let next_page_token = more.unwrap_or_default();
            Ok(v1::ListSagasResponse {
                sagas,
                next_page_token,
            })
        })
    }

    async fn wait(
        &self,
        request: Request<v1::WaitSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let request = request.into_inner();
        self.call("wait", |state| {
            state.info(&request.saga_id, request.wait_ms)
        })
    }

    async fn report(
        &self,
        request: Request<v1::ReportSagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let request = request.into_inner();
        self.call("report", |state| {
            state.reports.push(request.clone());
            state.info(&request.saga_id, 0)
        })
    }

    async fn retry(
        &self,
        request: Request<v1::RetrySagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::RetrySagaStepRequest {
            saga_id,
            by,
            reason,
            ..
        } = request.into_inner();
        self.call("retry", |state| state.act(&saga_id, by, reason))
    }

    async fn skip(
        &self,
        request: Request<v1::SkipSagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::SkipSagaStepRequest {
            saga_id,
            by,
            reason,
            ..
        } = request.into_inner();
        self.call("skip", |state| state.act(&saga_id, by, reason))
    }

    async fn edit_input(
        &self,
        request: Request<v1::EditSagaInputRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::EditSagaInputRequest {
            saga_id,
            by,
            reason,
            ..
        } = request.into_inner();
        self.call("edit_input", |state| state.act(&saga_id, by, reason))
    }

    async fn undo(
        &self,
        request: Request<v1::UndoSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::UndoSagaRequest {
            saga_id,
            by,
            reason,
        } = request.into_inner();
        self.call("undo", |state| state.act(&saga_id, by, reason))
    }

    async fn park(
        &self,
        request: Request<v1::ParkSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::ParkSagaRequest {
            saga_id,
            by,
            reason,
        } = request.into_inner();
        self.call("park", |state| state.act(&saga_id, by, reason))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::ResumeSagaRequest {
            saga_id,
            by,
            reason,
        } = request.into_inner();
        self.call("resume", |state| state.act(&saga_id, by, reason))
    }
}
