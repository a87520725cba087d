use bytes::Bytes;
use outrigger_core::saga::ledger::{Command, Defined, Filter};
use outrigger_proto::{
    cluster::{
        KeptSagaDefinition, ListSagasRequest, ListSagasResponse, ReadSagaRequest, ReadSagaResponse,
        SagaDefinitionsRequest, SagaDefinitionsResponse, SubmitSagasRequest, SubmitSagasResponse,
        sagas_server::Sagas,
    },
    v1::SagaStatus,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::Kept;
use crate::{
    edge::status::Failure,
    saga::{shown, wire},
};

/// Commands in one call.
pub(crate) const COMMANDS_MAX: usize = 256;
/// The largest call: as much as the log takes for one command, and what is around it.
pub(crate) const CALL_BYTES_MAX: usize = 16 << 20;
/// Sagas in one answer.
const LISTED_MAX: usize = 1_000;

/// The Sagas service of one data group; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keeper<K> {
    kept: K,
}

impl<K: Kept> Keeper<K> {
    pub(crate) fn new(kept: K) -> Self {
        Self { kept }
    }

    async fn carry_out(&self, commands: Vec<Bytes>) -> Result<SubmitSagasResponse, Failure> {
        let count = commands.len();
        if count > COMMANDS_MAX {
            let limit = format_args!("at most {COMMANDS_MAX} in one call");
            return Err(Failure::invalid(
                "TOO_MANY_COMMANDS",
                "commands",
                count,
                limit,
            ));
        }
        let commands = commands.into_iter().map(|encoded| {
            let bytes = encoded.len();
            Command::decode(encoded).map_err(|error| {
                let value = format_args!("{bytes} bytes: {error}");
                Failure::invalid(
                    "ILLEGAL_COMMAND",
                    "commands",
                    value,
                    "what this program reads",
                )
            })
        });
        let commands = commands.collect::<Result<Vec<_>, _>>()?;
        let answers = match commands.is_empty() {
            true => Vec::new(),
            false => self.kept.submit(commands).await?,
        };
        Ok(SubmitSagasResponse {
            answers: answers.into_iter().map(wire::to_answer).collect(),
        })
    }

    fn saga(&self, request: &ReadSagaRequest) -> Result<ReadSagaResponse, Failure> {
        let Some(view) = self.kept.saga(&request.saga_id)? else {
            return Ok(ReadSagaResponse::default());
        };
        let is_known = request.known_sequence == Some(view.record.sequence());
        Ok(ReadSagaResponse {
            view: (!is_known).then(|| wire::to_view(&view)),
            is_known,
        })
    }

    fn sagas(&self, request: ListSagasRequest) -> Result<ListSagasResponse, Failure> {
        let kinds = request.statuses.iter().map(|number| {
            let status = SagaStatus::try_from(*number).ok();
            status.and_then(shown::kind).ok_or_else(|| {
                let limit = "a status that this program knows";
                Failure::invalid("ILLEGAL_STATUS", "statuses", number, limit)
            })
        });
        let filter = Filter {
            definition: Some(request.definition).filter(|name| !name.is_empty()),
            kinds: kinds.collect::<Result<_, _>>()?,
            stuck: request.stuck,
        };
        let limit = (request.limit as usize).min(LISTED_MAX);
        let page = self.kept.sagas(&filter, &request.after, limit)?;
        let sagas = page.sagas.iter();
        let sagas = sagas.map(|record| shown::info(record, &[], false));
        Ok(ListSagasResponse {
            sagas: sagas.map(|info| info.encode_to_vec().into()).collect(),
            next: page.next.unwrap_or_default(),
        })
    }

    fn found(&self, request: SagaDefinitionsRequest) -> SagaDefinitionsResponse {
        let SagaDefinitionsRequest {
            name,
            version,
            latest,
            known_version,
        } = request;
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let found = self.kept.definitions(name).into_iter();
        let found = found.filter(|one| !latest || one.latest).map(definition);
        let found = found.filter(|one| version.is_empty() || one.version == version);
        let known = |one: &KeptSagaDefinition| latest && one.version == known_version;
        let definitions = found.map(|one| match known(&one) {
            true => KeptSagaDefinition {
                definition: Bytes::new(),
                ..one
            },
            false => one,
        });
        SagaDefinitionsResponse {
            definitions: definitions.collect(),
        }
    }
}

fn definition(one: Defined) -> KeptSagaDefinition {
    KeptSagaDefinition {
        definition: one.definition.encoded().clone(),
        version: one.definition.version().to_string(),
        defined_at_ms: one.defined_at_ms,
        latest: one.latest,
    }
}

#[tonic::async_trait]
impl<K: Kept> Sagas for Keeper<K> {
    async fn submit(
        &self,
        request: Request<SubmitSagasRequest>,
    ) -> Result<Response<SubmitSagasResponse>, Status> {
        let commands = request.into_inner().commands;
        Ok(Response::new(self.carry_out(commands).await?))
    }

    async fn read(
        &self,
        request: Request<ReadSagaRequest>,
    ) -> Result<Response<ReadSagaResponse>, Status> {
        Ok(Response::new(self.saga(request.get_ref())?))
    }

    async fn list(
        &self,
        request: Request<ListSagasRequest>,
    ) -> Result<Response<ListSagasResponse>, Status> {
        Ok(Response::new(self.sagas(request.into_inner())?))
    }

    async fn definitions(
        &self,
        request: Request<SagaDefinitionsRequest>,
    ) -> Result<Response<SagaDefinitionsResponse>, Status> {
        Ok(Response::new(self.found(request.into_inner())))
    }
}
