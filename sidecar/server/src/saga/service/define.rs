use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use outrigger_core::saga::{
    Definition,
    definition::{Delivery, Mode, Target, Version},
    ledger::{Answer, Command},
};
use outrigger_proto::v1::{self, SagaDefinition, SagaStep, saga_call, saga_step::UndoOrNothing};
use tonic::{Code, Status};

use super::{Opened, failure};
use crate::{
    edge::status::Failure,
    saga::{
        convert::{self, to_proto},
        participant::{Endpoint, EndpointError},
    },
};

impl Opened {
    /// Checks a definition and keeps it in all data groups. The first one is the last that
    /// gets it: what it has can be started anywhere.
    pub(super) async fn define(
        &self,
        request: v1::DefineSagaRequest,
    ) -> Result<v1::DefineSagaResponse, Status> {
        let definition = request.definition;
        let definition = definition.ok_or_else(|| {
            let message = "definition is missing".to_owned();
            failure::definition(message)
        })?;
        let latest = self.latest_of_sub_sagas(&definition).await?;
        let find = |name: &str| latest.get(name).copied();
        let definition = convert::definition(&definition, &find)
            .map_err(|error| failure::definition(error.to_string()))?;
        check_endpoints(&definition).map_err(|error| failure::definition(error.to_string()))?;
        let others = (1..self.store.groups()).map(|group| self.define_in(group, &definition));
        try_join_all(others).await?;
        let (version, created) = self.define_in(0, &definition).await?;
        Ok(v1::DefineSagaResponse {
            name: definition.name().to_owned(),
            version: version.to_string(),
            created,
        })
    }

    async fn define_in(
        &self,
        group: u32,
        definition: &Definition,
    ) -> Result<(Version, bool), Status> {
        let encoded = definition.encoded().clone();
        let answers = self
            .store
            .carry_out(group, vec![Command::Define { encoded }]);
        match answers.await?.into_iter().next() {
            Some(Ok(Answer::Defined { version, created })) => Ok((version, created)),
            Some(Err(refused)) => Err(Failure::from(refused).into()),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The latest versions of the sagas that are steps, where none is named.
    async fn latest_of_sub_sagas(
        &self,
        definition: &SagaDefinition,
    ) -> Result<BTreeMap<String, Version>, Status> {
        let mut latest = BTreeMap::new();
        for name in definition
            .steps
            .iter()
            .flat_map(unversioned)
            .collect::<BTreeSet<_>>()
        {
            if let Some(found) = self.store.find_definition(name, None).await? {
                latest.insert(name.to_owned(), found.version());
            }
        }
        Ok(latest)
    }

    pub(super) async fn list_definitions(
        &self,
        name: String,
    ) -> Result<v1::ListSagaDefinitionsResponse, Status> {
        let found = self.store.definitions(&name).await?;
        if found.is_empty() && !name.is_empty() {
            return Err(failure::no_definition(&name, "").into());
        }
        let definitions = found.iter().map(|kept| v1::DefinedSaga {
            definition: Some(to_proto(&kept.definition)),
            version: kept.definition.version().to_string(),
            defined_at_ms: kept.defined_at_ms,
            latest: kept.latest,
        });
        Ok(v1::ListSagaDefinitionsResponse {
            definitions: definitions.collect(),
        })
    }
}

/// The sagas that a step calls without naming a version.
fn unversioned(step: &SagaStep) -> impl Iterator<Item = &str> {
    let undo = match &step.undo_or_nothing {
        Some(UndoOrNothing::Undo(undo)) => Some(undo),
        Some(UndoOrNothing::NothingToUndo(_)) | None => None,
    };
    let calls = [step.action.as_ref(), undo, step.confirm.as_ref()];
    let targets = calls.into_iter().flatten();
    targets.filter_map(|call| match &call.target {
        Some(saga_call::Target::Saga(saga)) if saga.version.is_empty() => {
            Some(saga.definition.as_str())
        }
        _ => None,
    })
}

/// Whether every participant, and everybody who is told the result, can be called.
fn check_endpoints(definition: &Definition) -> Result<(), EndpointError> {
    let (action, undo) = match definition.mode() {
        Mode::Saga => ("action", "undo"),
        Mode::Tcc => ("try", "cancel"),
    };
    for step in definition.steps() {
        let calls = [
            (action, Some(&step.action)),
            (undo, step.undo.as_ref()),
            ("confirm", step.confirm.as_ref()),
        ];
        for (phase, call) in calls {
            let field = |target| format!("step {:?}: {phase}.{target}.url", step.name);
            match call.map(|call| &call.target) {
                Some(Target::Http { url }) => Endpoint::http(&field("http"), url).map(drop)?,
                Some(Target::Grpc { url, operation }) => {
                    Endpoint::grpc(&field("grpc"), url, operation).map(drop)?;
                }
                Some(Target::Message { .. } | Target::Saga { .. }) | None => {}
            }
        }
    }
    for delivery in definition.deliveries() {
        match delivery {
            Delivery::Webhook { url } => {
                Endpoint::http("deliveries: webhook.url", url).map(drop)?;
            }
            Delivery::Message { .. } => {}
        }
    }
    Ok(())
}

/// The leader answered with something that this command cannot lead to.
pub(super) fn unexpected(answer: &impl std::fmt::Debug) -> Failure {
    let message = format!("the leader answered {answer:?}");
    Failure::new(Code::Internal, "UNEXPECTED_OUTCOME", message)
}
