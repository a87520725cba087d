//! The Producer service: Prepare, Resolve, Send and the batched Publish.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use outrigger_log::{Log, command::Outcome};
use outrigger_proto::stored::{self, producer_server::Producer};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Ending,
    operation::{KnownTopic, Operations, Translated},
    publish, refusal,
    topics::Topics,
};
use crate::{check_back::CallbackHub, config::LimitsConfig};

/// Half-messages and verdicts by unary calls cannot even ask for another durability.
const UNSPECIFIED: i32 = stored::Durability::Unspecified as i32;

/// The gRPC service; cheap to clone.
#[derive(Clone)]
pub struct ProducerService {
    log: Log,
    operations: Operations,
    callbacks: CallbackHub,
    ending: Ending,
}

impl ProducerService {
    pub(crate) fn new(
        log: Log,
        topics: Topics,
        limits: Arc<LimitsConfig>,
        callbacks: CallbackHub,
        ending: Ending,
    ) -> Self {
        let operations = Operations::new(log.clone(), topics, limits);
        Self {
            log,
            operations,
            callbacks,
            ending,
        }
    }

    async fn run(
        &self,
        operation: stored::operation::Kind,
        durability: i32,
    ) -> Result<Outcome, Status> {
        let known = &mut KnownTopic::default();
        let translated = self
            .operations
            .command_creating_topics(&operation, durability, None, known)
            .await?;
        let Translated {
            command,
            durability,
        } = translated;
        Ok(refusal::run_at(&self.log, command, durability).await?)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Producer for ProducerService {
    async fn prepare(
        &self,
        request: Request<stored::PrepareRequest>,
    ) -> Result<Response<stored::PrepareResponse>, Status> {
        match self
            .run(
                stored::operation::Kind::Prepare(request.into_inner()),
                UNSPECIFIED,
            )
            .await?
        {
            Outcome::Prepared { repeated } => Ok(Response::new(stored::PrepareResponse {
                repeated_call: repeated,
            })),
            other => Err(refusal::unexpected(Some(&other)).into()),
        }
    }

    async fn resolve(
        &self,
        request: Request<stored::ResolveRequest>,
    ) -> Result<Response<stored::ResolveResponse>, Status> {
        match self
            .run(
                stored::operation::Kind::Resolve(request.into_inner()),
                UNSPECIFIED,
            )
            .await?
        {
            Outcome::Resolved { repeated } => Ok(Response::new(stored::ResolveResponse {
                repeated_call: repeated,
            })),
            other => Err(refusal::unexpected(Some(&other)).into()),
        }
    }

    async fn send(
        &self,
        request: Request<stored::SendRequest>,
    ) -> Result<Response<stored::SendResponse>, Status> {
        let stored::SendRequest {
            message,
            durability,
        } = request.into_inner();
        let outcome = self
            .run(stored::operation::Kind::Send(message), durability)
            .await?;
        match super::outcome::receipt(&outcome) {
            Some(receipt) => Ok(Response::new(stored::SendResponse {
                receipt: Some(receipt),
            })),
            None => Err(refusal::unexpected(Some(&outcome)).into()),
        }
    }

    type PublishStream = Answers<stored::PublishResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<stored::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let answers = publish::run(
            self.log.clone(),
            self.operations.clone(),
            request.into_inner(),
            self.ending.clone(),
        );
        Ok(Response::new(Box::pin(answers)))
    }

    type CheckBackStream = Answers<stored::CheckBackResponse>;

    async fn check_back(
        &self,
        request: Request<Streaming<stored::CheckBackRequest>>,
    ) -> Result<Response<Self::CheckBackStream>, Status> {
        let questions = self.callbacks.connect(request.into_inner()).await?;
        Ok(Response::new(Box::pin(questions)))
    }
}
