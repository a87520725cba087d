//! The Saga service: what applications and people ask of sagas. Every process answers it
//! itself, whoever leads.

mod acts;
mod check;
mod define;
mod failure;
mod list;
mod start;
#[cfg(test)]
mod tests;
mod wait;

use std::{sync::Arc, time::Duration};

use outrigger_core::{limits::SAGA_PAYLOAD_BYTES_MAX, saga::ledger::View};
use outrigger_proto::v1::{
    self,
    saga_server::{Saga, SagaServer},
};
use tokio::{
    sync::{Semaphore, SetOnce},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{
    executor::Handle,
    remote::{Found, PortStore},
    shown,
};
use crate::edge::status::Failure;

/// How long a call waits until it is known where the sagas are.
const OPEN_MS_MAX: u64 = 5_000;
/// The largest payload, and what is around it.
const REQUEST_BYTES_MAX: usize = SAGA_PAYLOAD_BYTES_MAX as usize + (64 << 10);
/// Calls that wait for the end of a saga at a time.
const WAITERS_MAX: usize = 16_384;

/// The gRPC service; cheap to clone.
#[derive(Clone)]
pub(crate) struct SagaService {
    opened: Arc<SetOnce<Opened>>,
    waiters: Arc<Semaphore>,
    /// Those who wait are told what is known.
    closing: CancellationToken,
}

/// What it works with.
#[derive(Clone)]
pub(crate) struct Opened {
    /// Where sagas are kept.
    pub(crate) store: PortStore,
    /// Who carries them out in this process, if it does.
    pub(crate) executor: Handle,
}

impl SagaService {
    /// It answers once it is opened, and ends waiting when it is closed.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            opened: Arc::default(),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            closing,
        }
    }

    /// The service for a port.
    pub(crate) fn server(&self) -> SagaServer<Self> {
        SagaServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// Says where the sagas are. Only the first time has an effect.
    pub(crate) fn open(&self, opened: Opened) {
        if self.opened.set(opened).is_err() {
            tracing::error!("the saga service was opened twice");
        }
    }

    async fn opened(&self) -> Result<Opened, Failure> {
        let limit = Duration::from_millis(OPEN_MS_MAX);
        match timeout(limit, self.opened.wait()).await {
            Ok(opened) => Ok(opened.clone()),
            Err(_) => {
                let message = "this process does not know yet where the sagas are";
                Err(Failure::new(Code::Unavailable, "NOT_READY", message))
            }
        }
    }
}

impl Opened {
    async fn saga(&self, saga: &str) -> Result<View, Status> {
        match self.store.find(saga, None).await? {
            Found::Saga(view) => Ok(*view),
            Found::Nothing | Found::AsKnown => Err(failure::no_saga(saga).into()),
        }
    }

    async fn info(&self, saga: &str) -> Result<v1::SagaInfo, Status> {
        let view = self.saga(saga).await?;
        Ok(shown::info(&view.record, &view.history, true))
    }

    async fn details(&self, saga: &str) -> Result<v1::SagaDetails, Status> {
        let view = self.saga(saga).await?;
        Ok(v1::SagaDetails {
            saga: Some(shown::info(&view.record, &view.history, true)),
            input: view.record.started().input.clone(),
            steps: shown::steps(&view.record),
            history: shown::history(&view),
        })
    }
}

#[tonic::async_trait]
impl Saga for SagaService {
    async fn define(
        &self,
        request: Request<v1::DefineSagaRequest>,
    ) -> Result<Response<v1::DefineSagaResponse>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.define(request.into_inner()).await?))
    }

    async fn list_definitions(
        &self,
        request: Request<v1::ListSagaDefinitionsRequest>,
    ) -> Result<Response<v1::ListSagaDefinitionsResponse>, Status> {
        let name = request.into_inner().name;
        let listed = self.opened().await?.list_definitions(name).await?;
        Ok(Response::new(listed))
    }

    async fn start(
        &self,
        request: Request<v1::StartSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        Ok(Response::new(self.begin(request.into_inner()).await?))
    }

    async fn get(
        &self,
        request: Request<v1::GetSagaRequest>,
    ) -> Result<Response<v1::SagaDetails>, Status> {
        let saga = check::saga_id(request.into_inner().saga_id)?;
        Ok(Response::new(self.opened().await?.details(&saga).await?))
    }

    async fn list(
        &self,
        request: Request<v1::ListSagasRequest>,
    ) -> Result<Response<v1::ListSagasResponse>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.list(request.into_inner()).await?))
    }

    async fn wait(
        &self,
        request: Request<v1::WaitSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let v1::WaitSagaRequest { saga_id, wait_ms } = request.into_inner();
        let saga = check::saga_id(saga_id)?;
        let limit = check::wait(wait_ms)?;
        Ok(Response::new(self.wait_for(&saga, limit).await?))
    }

    async fn report(
        &self,
        request: Request<v1::ReportSagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.report(request.into_inner()).await?))
    }

    async fn retry(
        &self,
        request: Request<v1::RetrySagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.retry(request.into_inner()).await?))
    }

    async fn skip(
        &self,
        request: Request<v1::SkipSagaStepRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.skip(request.into_inner()).await?))
    }

    async fn edit_input(
        &self,
        request: Request<v1::EditSagaInputRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        let edited = opened.edit_input(request.into_inner()).await?;
        Ok(Response::new(edited))
    }

    async fn undo(
        &self,
        request: Request<v1::UndoSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.undo(request.into_inner()).await?))
    }

    async fn park(
        &self,
        request: Request<v1::ParkSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.park(request.into_inner()).await?))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeSagaRequest>,
    ) -> Result<Response<v1::SagaInfo>, Status> {
        let opened = self.opened().await?;
        Ok(Response::new(opened.resume(request.into_inner()).await?))
    }
}
