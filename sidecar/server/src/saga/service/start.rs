use outrigger_core::saga::{Record, check_id, event::Start, ledger::View};
use outrigger_proto::v1::{SagaInfo, StartSagaRequest};
use tonic::Status;

use super::{Opened, SagaService, check, failure};
use crate::{
    clock::now_ms,
    edge::status::Failure,
    saga::{
        executor::{Failed, Started},
        remote::Found,
        shown,
        store::Why,
    },
};

impl SagaService {
    /// Starts a saga, and waits for its end if it is asked to.
    pub(super) async fn begin(&self, request: StartSagaRequest) -> Result<SagaInfo, Status> {
        check_id("saga_id", &request.saga_id).map_err(Failure::from)?;
        let limit = check::wait(request.wait_ms)?;
        let place = match limit.is_zero() {
            true => None,
            false => Some(self.place_to_wait()?),
        };
        let opened = self.opened().await?;
        let started = opened.start(&request).await?;
        match place {
            None => Ok(started),
            Some(place) => self.wait_at(place, &opened, &request.saga_id, limit).await,
        }
    }
}

impl Opened {
    async fn start(&self, request: &StartSagaRequest) -> Result<SagaInfo, Status> {
        let StartSagaRequest {
            saga_id,
            definition: name,
            version,
            input,
            start_at_ms,
            wait_ms: _,
        } = request;
        let named = check::version(version)?;
        let definition = self.store.find_definition(name, named).await?;
        let definition = definition.ok_or_else(|| failure::no_definition(name, version))?;
        let bytes_max = definition.payload_bytes_max();
        check::payload("SAGA_INPUT_TOO_LARGE", "input", input.len(), bytes_max)?;
        let deadline_ms = definition.deadline_ms();
        let (start_at_ms, deadline_at_ms) = check::times(*start_at_ms, now_ms(), deadline_ms)?;
        let start = Start {
            saga: saga_id.clone(),
            definition: name.clone(),
            version: definition.version(),
            input: input.clone(),
            start_at_ms,
            deadline_at_ms,
            parent: None,
        };
        let began = self.executor.start(definition.clone(), start.clone()).await;
        match began {
            Ok(Started { created: true }) => {
                let record = Record::start(definition, start);
                let record = record.map_err(|error| {
                    let message = error.to_string();
                    Failure::new(tonic::Code::InvalidArgument, "SAGA_START_INVALID", message)
                })?;
                Ok(shown::info(&record, &[], false))
            }
            Ok(Started { created: false }) => self.info(saga_id).await,
            Err(Failed::Refused(refused)) if refused.why == Why::Conflict => {
                match self.store.find(saga_id, None).await? {
                    Found::Saga(view) if is_meant(request, &view) => {
                        Ok(shown::info(&view.record, &view.history, true))
                    }
                    Found::Saga(_) | Found::AsKnown | Found::Nothing => {
                        Err(Failure::from(refused).into())
                    }
                }
            }
            Err(failed) => Err(Failure::from(failed).into()),
        }
    }
}

/// Whether a start that is repeated means the saga that is there: what the application left
/// open ("the latest version", "at once") was settled when it was started.
fn is_meant(request: &StartSagaRequest, there: &View) -> bool {
    let start = there.record.started();
    let has_version = request.version.is_empty() || request.version == start.version.to_string();
    let begins = request.start_at_ms == 0 || request.start_at_ms == start.start_at_ms;
    let is_same = request.definition == start.definition && request.input == start.input;
    is_same && has_version && begins && start.parent.is_none()
}
