mod acts;
mod error;
mod info;
mod start;

use std::time::Duration;

use bytes::Bytes;
use outrigger_proto::v1::{self, saga_client::SagaClient};
use serde::Serialize;
use tokio::time::Instant;
use tonic::{Response, Status as GrpcStatus, transport::Channel};

pub use acts::ByHand;
pub use error::Error;
pub use info::{Defined, Details, Info, Status};
pub use start::Start;

use crate::{Refusal, barrier::Phase, reconnect::Reconnect};
use error::is_unavailable;

/// The protocol's messages that the calls about sagas take and answer.
pub mod wire {
    pub use outrigger_proto::v1::{
        DefinedSaga, SagaDefinition, SagaHistoryEntry, SagaPhase, SagaStepInfo, SagaStepStatus,
    };
}

type Grpc = SagaClient<Channel>;

/// The longest that the sidecar waits for the end of a saga in one call.
const WAIT_CALL_MAX: Duration = Duration::from_secs(60);
/// How long one call may take beside that.
const CALL_MAX: Duration = Duration::from_secs(15);
/// How long a call is repeated, unless told otherwise.
const REPEAT_TOTAL_MS_DEFAULT: u64 = 30_000;

/// Starts sagas, and tells what becomes of them. Made by
/// [`Client::sagas`](crate::Client::sagas); cheap to clone.
///
/// ```no_run
/// # async fn example(
/// #     client: outrigger_sdk::Client,
/// #     definition: outrigger_sdk::saga::wire::SagaDefinition,
/// # ) -> Result<(), outrigger_sdk::saga::Error> {
/// use std::time::Duration;
/// use outrigger_sdk::saga::Status;
///
/// let sagas = client.sagas();
/// sagas.define(&definition).await?;
/// let saga = sagas
///     .start("order-17", "order", &serde_json::json!({"id": 17}))
///     .wait(Duration::from_secs(10))
///     .await?;
/// match saga.status {
///     Status::Completed => println!("ordered: {:?}", saga.output),
///     Status::Undone => println!("not ordered: {}", saga.undo_cause),
///     _ => println!("still under way"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Repeated calls
///
/// All calls but those of [`by_hand`](Client::by_hand) change nothing the second time. When
/// nobody knows what became of one, it is repeated with growing waits, for 30 s unless
/// [`repeat_for`](Client::repeat_for) says otherwise.
#[derive(Debug, Clone)]
pub struct Client {
    grpc: Grpc,
    repeat_for: Duration,
}

impl Client {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            // A saga gives back at most what the sidecar keeps of it.
            grpc: SagaClient::new(channel).max_decoding_message_size(usize::MAX),
            repeat_for: Duration::from_millis(REPEAT_TOTAL_MS_DEFAULT),
        }
    }

    /// How long a call is repeated whose outcome nobody knows.
    #[must_use]
    pub fn repeat_for(mut self, total: Duration) -> Self {
        self.repeat_for = total;
        self
    }

    /// Keeps a definition. The same content again changes nothing. Sagas that have begun keep
    /// the version that they began with.
    ///
    /// # Errors
    /// [`Error::DefinitionInvalid`] names the step and the field.
    pub async fn define(&self, definition: &wire::SagaDefinition) -> Result<Defined, Error> {
        let request = v1::DefineSagaRequest {
            definition: Some(definition.clone()),
        };
        let call = |mut grpc: Grpc, request| async move { grpc.define(request).await };
        let defined = self.repeated(CALL_MAX, || request.clone(), call).await?;
        Ok(Defined {
            name: defined.name,
            version: defined.version,
            created: defined.created,
        })
    }

    /// All versions of one definition; with an empty name the latest version of each.
    ///
    /// # Errors
    /// [`Error::DefinitionNotFound`] when there is none of that name.
    pub async fn definitions(
        &self,
        name: impl Into<String>,
    ) -> Result<Vec<wire::DefinedSaga>, Error> {
        let request = v1::ListSagaDefinitionsRequest { name: name.into() };
        let call = |mut grpc: Grpc, request| async move { grpc.list_definitions(request).await };
        Ok(self
            .repeated(CALL_MAX, || request.clone(), call)
            .await?
            .definitions)
    }

    /// Starts a saga. Its id is 1 to 128 letters, digits, `_`, `-`, `%` and `.`, and unique
    /// among all that are kept: the same start again changes nothing, so the id of what the
    /// saga is about, such as an order's, makes sure that there is one saga for it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id was used for something else.
    pub fn start<I: Serialize + ?Sized>(
        &self,
        saga_id: impl Into<String>,
        definition: impl Into<String>,
        input: &I,
    ) -> Start {
        let input = serde_json::to_vec(input).map(Bytes::from);
        Start::new(self.clone(), saga_id.into(), definition.into(), input)
    }

    /// Waits until a saga has ended or is parked, for at most so long. Its status tells which.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn wait(&self, saga_id: impl Into<String>, at_most: Duration) -> Result<Info, Error> {
        let (saga_id, until) = (saga_id.into(), Instant::now() + at_most);
        let mut early = Reconnect::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let request = v1::WaitSagaRequest {
                saga_id: saga_id.clone(),
                wait_ms: millis(left.min(WAIT_CALL_MAX)),
            };
            let (asked, limit) = (Instant::now(), wait_call(request.wait_ms));
            let call = |mut grpc: Grpc, request| async move { grpc.wait(request).await };
            let info = self.repeated(limit, || request.clone(), call).await?;
            let info = Info::from_wire(info)?;
            if is_told(&info) || Instant::now() >= until {
                return Ok(info);
            }
            // A sidecar that is ending, for one, does not wait.
            if asked.elapsed() < Duration::from_millis(request.wait_ms) {
                early.wait().await;
            }
        }
    }

    /// Everything about one saga.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or it ended long ago.
    pub async fn get(&self, saga_id: impl Into<String>) -> Result<Details, Error> {
        let request = v1::GetSagaRequest {
            saga_id: saga_id.into(),
        };
        let call = |mut grpc: Grpc, request| async move { grpc.get(request).await };
        let details = self.repeated(CALL_MAX, || request.clone(), call).await?;
        let saga = details.saga.ok_or_else(|| {
            let status = GrpcStatus::internal("the details of a saga without the saga");
            Error::Refused(status.into())
        })?;
        Ok(Details {
            saga: Info::from_wire(saga)?,
            input: details.input,
            steps: details.steps,
            history: details.history,
        })
    }

    /// One page of the sagas that are kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, filter: &Filter, page: &Page) -> Result<(Vec<Info>, Page), Error> {
        let statuses = filter.statuses.iter().map(|s| i32::from(s.to_wire()));
        let request = v1::ListSagasRequest {
            definition: filter.definition.clone(),
            statuses: statuses.collect(),
            stuck: filter.stuck,
            limit: 0,
            page_token: page.token.clone(),
        };
        let call = |mut grpc: Grpc, request| async move { grpc.list(request).await };
        let listed = self.repeated(CALL_MAX, || request.clone(), call).await?;
        let sagas = listed.sagas.into_iter().map(Info::from_wire);
        let next = Page {
            token: listed.next_page_token,
        };
        Ok((sagas.collect::<Result<_, _>>()?, next))
    }

    /// Says that a step is done whose answer does not come back on its call: that of a message,
    /// or one that was answered as ongoing. Any sidecar takes it.
    ///
    /// # Errors
    /// [`Error::StepNotCalled`] when the step is not being called for this phase.
    pub async fn report_success<O: Serialize + ?Sized>(
        &self,
        saga_id: impl Into<String>,
        step: impl Into<String>,
        phase: Phase,
        output: &O,
    ) -> Result<Info, Error> {
        let saga_id = saga_id.into();
        let output = serde_json::to_vec(output).map_err(|source| Error::Json {
            what: "output",
            saga_id: saga_id.clone(),
            source,
        })?;
        let success = v1::SagaStepSuccess {
            output: output.into(),
        };
        let outcome = v1::report_saga_step_request::Outcome::Success(success);
        self.report(saga_id, step.into(), phase, outcome).await
    }

    /// As [`report_success`](Client::report_success), of a step that is refused for a reason of
    /// the business, in at most 1,024 characters.
    ///
    /// # Errors
    /// [`Error::StepNotCalled`] when the step is not being called for this phase.
    pub async fn report_failure(
        &self,
        saga_id: impl Into<String>,
        step: impl Into<String>,
        phase: Phase,
        message: impl Into<String>,
    ) -> Result<Info, Error> {
        let message = message.into();
        let failure = v1::SagaStepFailure { message };
        let outcome = v1::report_saga_step_request::Outcome::Failure(failure);
        self.report(saga_id.into(), step.into(), phase, outcome)
            .await
    }

    async fn report(
        &self,
        saga_id: String,
        step: String,
        phase: Phase,
        outcome: v1::report_saga_step_request::Outcome,
    ) -> Result<Info, Error> {
        let request = v1::ReportSagaStepRequest {
            saga_id,
            step,
            phase: to_wire(phase).into(),
            outcome: Some(outcome),
        };
        let call = |mut grpc: Grpc, request| async move { grpc.report(request).await };
        Info::from_wire(self.repeated(CALL_MAX, || request.clone(), call).await?)
    }

    /// What a person does, with who it is, at most 120 characters, and why, at most 1,024.
    /// Neither may be empty.
    pub fn by_hand(&self, by: impl Into<String>, reason: impl Into<String>) -> ByHand {
        ByHand::new(self.clone(), by.into(), reason.into())
    }

    /// Makes a call that changes nothing the second time, until somebody knows what became of
    /// it. Each may take as long as `limit`.
    async fn repeated<R, T, Answered>(
        &self,
        limit: Duration,
        request: impl Fn() -> R,
        call: impl Fn(Grpc, tonic::Request<R>) -> Answered,
    ) -> Result<T, Error>
    where
        Answered: Future<Output = Result<Response<T>, GrpcStatus>>,
    {
        let until = Instant::now() + self.repeat_for;
        let mut waits = Reconnect::new();
        loop {
            let mut request = tonic::Request::new(request());
            request.set_timeout(limit);
            let refusal = match call(self.grpc.clone(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Refusal::from(status),
            };
            if !is_unavailable(&refusal) || Instant::now() >= until {
                return Err(refusal.into());
            }
            tracing::debug!(%refusal, "a call about a saga is repeated");
            waits.wait().await;
        }
    }
}

/// Which sagas are listed; by default all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this definition; empty: of all.
    pub definition: String,
    /// Only those with one of these; empty: with any.
    pub statuses: Vec<Status>,
    /// Only those with a step that waits for a person.
    pub stuck: bool,
}

/// Where a list goes on; by default at its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    token: String,
}

impl Page {
    /// There is nothing after what was listed.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.token.is_empty()
    }
}

/// Whoever waits is told: nothing will happen by itself.
fn is_told(info: &Info) -> bool {
    info.status.is_ended() || info.status == Status::Parked
}

/// How long a call may take that waits so long.
fn wait_call(wait_ms: u64) -> Duration {
    CALL_MAX.saturating_add(Duration::from_millis(wait_ms))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn to_wire(phase: Phase) -> v1::SagaPhase {
    match phase {
        Phase::Action => v1::SagaPhase::Action,
        Phase::Undo => v1::SagaPhase::Undo,
        Phase::Try => v1::SagaPhase::Try,
        Phase::Confirm => v1::SagaPhase::Confirm,
        Phase::Cancel => v1::SagaPhase::Cancel,
    }
}
