use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::{
    placement::Placement,
    saga::{
        Definition,
        definition::Version,
        ledger::{Answer, Command, Defined, View},
    },
};
use outrigger_proto::{
    cluster::{
        ListSagasRequest, ReadSagaRequest, SagaDefinitionsRequest, SagaView, SubmitSagasRequest,
        sagas_client::SagasClient,
    },
    v1::SagaInfo,
};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{Options, definitions::Definitions};
use crate::{
    edge::status::Failure,
    forward::{Forward, Ways, unknown_data_group},
    saga::{
        keeper::COMMANDS_MAX,
        store::{Refused, Store, Unavailable},
        wire::{self, Malformed},
    },
};

/// The sagas of all data groups, asked for at their leaders; cheap to clone.
#[derive(Clone)]
pub(crate) struct PortStore {
    shared: Arc<Shared>,
}

struct Shared {
    ways: Ways,
    options: Options,
    definitions: Definitions,
}

/// What a reader that knows a saga up to some event finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// There is no such saga.
    Nothing,
    /// Nothing has happened to it since.
    AsKnown,
    /// This.
    Saga(Box<View>),
}

impl PortStore {
    /// Asks the leaders to which the ways lead.
    pub(crate) fn new(ways: Ways, options: Options) -> Self {
        let definitions = Definitions::default();
        Self {
            shared: Arc::new(Shared {
                ways,
                options,
                definitions,
            }),
        }
    }

    /// How many data groups there are.
    pub(crate) fn groups(&self) -> u32 {
        self.shared.ways.groups()
    }

    /// Carries commands out in one data group; see [`Store::submit`].
    ///
    /// # Errors
    /// With the leader's own words when it refused them all, or could not be asked.
    pub(crate) async fn carry_out(
        &self,
        group: u32,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Answer, Refused>>, Status> {
        let mut answers = Vec::with_capacity(commands.len());
        for commands in self.calls(commands) {
            let count = commands.len();
            let mut leader = self.leader(group)?;
            let asked = leader.submit(SubmitSagasRequest { commands });
            let answered = self.in_time(asked).await?.answers;
            if answered.len() != count {
                let got = answered.len();
                let message = format!("the leader answered {got} of {count} commands");
                return Err(Status::internal(message));
            }
            for answer in answered {
                answers.push(wire::from_answer(answer).map_err(malformed)?);
            }
        }
        Ok(answers)
    }

    /// Splits commands up so that each call has a bearable size.
    fn calls(&self, commands: Vec<Command>) -> Vec<Vec<Bytes>> {
        let (mut calls, mut call, mut bytes) = (Vec::new(), Vec::new(), 0);
        for command in commands {
            let command = command.encode();
            let is_full = call.len() >= COMMANDS_MAX
                || bytes + command.len() > self.shared.options.call_bytes;
            if is_full && !call.is_empty() {
                calls.push(std::mem::take(&mut call));
                bytes = 0;
            }
            bytes += command.len();
            call.push(command);
        }
        if !call.is_empty() {
            calls.push(call);
        }
        calls
    }

    /// One saga, unless the caller knows it up to its last event.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub(crate) async fn find(
        &self,
        saga: &str,
        known_sequence: Option<u64>,
    ) -> Result<Found, Status> {
        let group = self.shared.ways.placement().saga(saga);
        let request = ReadSagaRequest {
            saga_id: saga.to_owned(),
            known_sequence,
        };
        let mut leader = self.leader(group)?;
        let found = self.in_time(leader.read(request)).await?;
        match (found.view, found.is_known) {
            (Some(view), _) => Ok(Found::Saga(Box::new(self.view(group, view).await?))),
            (None, true) => Ok(Found::AsKnown),
            (None, false) => Ok(Found::Nothing),
        }
    }

    async fn view(&self, group: u32, view: SagaView) -> Result<View, Status> {
        let (name, version) = wire::definition_of(&view).map_err(malformed)?;
        let definition = self.one(group, &name, version).await?.ok_or_else(|| {
            let message = format!("definition {name:?} version {version} of a saga is not there");
            Status::internal(message)
        })?;
        wire::from_view(view, definition).map_err(malformed)
    }

    /// Sagas of one data group, in the order of their ids, and after which id to go on.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub(crate) async fn list(
        &self,
        group: u32,
        request: ListSagasRequest,
    ) -> Result<(Vec<SagaInfo>, Option<String>), Status> {
        let mut leader = self.leader(group)?;
        let listed = self.in_time(leader.list(request)).await?;
        let sagas = listed.sagas.into_iter().map(SagaInfo::decode);
        let sagas = sagas.collect::<Result<_, _>>();
        let sagas =
            sagas.map_err(|error| Status::internal(format!("the leader's list: {error}")))?;
        Ok((sagas, Some(listed.next).filter(|next| !next.is_empty())))
    }

    /// All versions of one definition, or the latest version of every one, as the first data
    /// group has them.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub(crate) async fn definitions(&self, name: &str) -> Result<Vec<Defined>, Status> {
        let request = SagaDefinitionsRequest {
            name: name.to_owned(),
            ..SagaDefinitionsRequest::default()
        };
        let mut leader = self.leader(0)?;
        let found = self.in_time(leader.definitions(request)).await?.definitions;
        let found = found.into_iter().map(|kept| {
            Ok(Defined {
                definition: self.known(kept.definition)?,
                defined_at_ms: kept.defined_at_ms,
                latest: kept.latest,
            })
        });
        found.collect::<Result<_, _>>().map_err(malformed)
    }

    fn known(&self, encoded: Bytes) -> Result<Arc<Definition>, Malformed> {
        let definition = Definition::decode(encoded)?;
        let shared = &self.shared;
        Ok(shared.definitions.keep(definition, &shared.options))
    }

    /// One version of a definition, as it is known here or to one data group.
    async fn one(
        &self,
        group: u32,
        name: &str,
        version: Version,
    ) -> Result<Option<Arc<Definition>>, Status> {
        if let Some(known) = self.shared.definitions.find(name, version) {
            return Ok(Some(known));
        }
        let request = SagaDefinitionsRequest {
            name: name.to_owned(),
            version: version.to_string(),
            ..SagaDefinitionsRequest::default()
        };
        let mut leader = self.leader(group)?;
        let found = self.in_time(leader.definitions(request)).await?.definitions;
        let found = found.into_iter().next();
        let found = found.map(|found| self.known(found.definition));
        found.transpose().map_err(malformed)
    }

    async fn latest(&self, name: &str) -> Result<Option<Arc<Definition>>, Status> {
        let known = self.shared.definitions.latest(name);
        let known_version = known.as_ref().map(|known| known.version().to_string());
        let request = SagaDefinitionsRequest {
            name: name.to_owned(),
            latest: true,
            known_version: known_version.clone().unwrap_or_default(),
            ..SagaDefinitionsRequest::default()
        };
        let mut leader = self.leader(0)?;
        let found = self.in_time(leader.definitions(request)).await?.definitions;
        let Some(found) = found.into_iter().next() else {
            return Ok(None);
        };
        if Some(found.version) == known_version {
            return Ok(known);
        }
        let latest = self.known(found.definition).map_err(malformed)?;
        self.shared.definitions.keep_latest(&latest);
        Ok(Some(latest))
    }

    /// One definition; the latest one unless a version is given. Definitions are in all data
    /// groups, and come into the first one last: what it has can be used in all of them.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub(crate) async fn find_definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> Result<Option<Arc<Definition>>, Status> {
        match version {
            Some(version) => self.one(0, name, version).await,
            None => self.latest(name).await,
        }
    }

    fn leader(&self, group: u32) -> Result<SagasClient<Forward>, Failure> {
        let groups = self.groups();
        let way = self.shared.ways.way(group).cloned();
        let way = way.ok_or_else(|| unknown_data_group(group, groups))?;
        Ok(SagasClient::new(way).max_decoding_message_size(usize::MAX))
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Status> {
        let limit_ms = self.shared.options.call_ms_max;
        match timeout(Duration::from_millis(limit_ms), asked).await {
            Ok(answered) => Ok(answered?.into_inner()),
            Err(_) => {
                let message = format!("the leader has not answered for {limit_ms} ms");
                Err(Failure::new(Code::Unavailable, "OUTCOME_UNKNOWN", message).into())
            }
        }
    }
}

impl Store for PortStore {
    fn placement(&self) -> Placement {
        self.shared.ways.placement()
    }

    fn submit(
        &self,
        group: u32,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Result<Vec<Result<Answer, Refused>>, Unavailable>> {
        let store = self.clone();
        let answered = async move { store.carry_out(group, commands).await };
        answered
            .map(|answered| answered.map_err(unavailable))
            .boxed()
    }

    fn read(&self, saga: &str) -> BoxFuture<'static, Result<Option<View>, Unavailable>> {
        let (store, saga) = (self.clone(), saga.to_owned());
        async move {
            match store.find(&saga, None).await {
                Ok(Found::Saga(view)) => Ok(Some(*view)),
                Ok(Found::Nothing | Found::AsKnown) => Ok(None),
                Err(status) => Err(unavailable(status)),
            }
        }
        .boxed()
    }

    fn definition(
        &self,
        name: &str,
        version: Option<Version>,
    ) -> BoxFuture<'static, Result<Option<Arc<Definition>>, Unavailable>> {
        let (store, name) = (self.clone(), name.to_owned());
        async move {
            let found = store.find_definition(&name, version).await;
            found.map_err(unavailable)
        }
        .boxed()
    }
}

fn unavailable(status: Status) -> Unavailable {
    Unavailable {
        reason: status.message().to_owned(),
    }
}

fn malformed(error: Malformed) -> Status {
    Failure::new(
        Code::Internal,
        "UNEXPECTED_OUTCOME",
        format!("what the leader says of a saga cannot be read: {error}"),
    )
    .into()
}
