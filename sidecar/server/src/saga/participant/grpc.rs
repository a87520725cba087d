use std::{error::Error as _, io, sync::Arc, time::Duration};

use outrigger_core::saga::{ErrorClass, Outcome, Phase, definition::Mode};
use outrigger_proto::v1::{
    ParticipantCallRequest, ParticipantCallResponse, ParticipantDone, ParticipantOngoing,
    SagaPhase, participant_call_response, participant_client::ParticipantClient,
};
use tonic::{
    Code, Request, Status,
    metadata::errors::InvalidMetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{Call, Options, connector::connector, ended::Ended, retry_after, words};

/// What an answer has beside its output.
const ENVELOPE_BYTES_MAX: usize = 1_024;
/// How the gRPC library begins to say that an answer is larger than it may be.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// Calls one authority over gRPC, on one connection. Nothing is sent twice.
#[derive(Clone, Debug)]
pub(super) struct GrpcClient {
    channel: Channel,
    options: Arc<Options>,
}

impl GrpcClient {
    pub(super) fn new(uri: &::http::Uri, options: &Arc<Options>) -> Self {
        let interval = Duration::from_millis(options.grpc_keep_alive_interval_ms);
        let timeout = Duration::from_millis(options.grpc_keep_alive_timeout_ms);
        let endpoint = Endpoint::from(uri.clone())
            .buffer_size(options.calls_per_authority_max)
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(timeout);
        Self {
            channel: endpoint.connect_with_connector_lazy(connector(options)),
            options: Arc::clone(options),
        }
    }

    /// Makes one call, however long it takes.
    pub(super) async fn call(&self, call: &Call) -> Ended {
        let request = match request(call) {
            Ok(request) => request,
            Err(error) => {
                return Ended::illegal(format!("a call that metadata cannot express: {error}"));
            }
        };
        let limit = call.response_bytes_max.min(self.options.response_bytes_max);
        let mut client = ParticipantClient::new(self.channel.clone())
            .max_decoding_message_size(limit.saturating_add(ENVELOPE_BYTES_MAX));
        match client.call(request).await {
            Ok(response) => self.answered(response.into_inner(), limit),
            Err(status) => self.failed(&status, limit),
        }
    }

    fn answered(&self, response: ParticipantCallResponse, limit: usize) -> Ended {
        use participant_call_response::Outcome::{Done, Ongoing};
        match response.outcome {
            Some(Done(ParticipantDone { output })) if output.len() > limit => too_large(limit),
            Some(Done(ParticipantDone { output })) => Ended::answered(Outcome::Success { output }),
            Some(Ongoing(ParticipantOngoing { retry_after_ms })) => {
                let after = retry_after::bounded(retry_after_ms, &self.options);
                let after = (retry_after_ms > 0).then_some(after);
                Ended::unsettled(ErrorClass::Ongoing, "gRPC OK: ongoing").after(after)
            }
            None => {
                let message = "gRPC OK: the answer has neither done nor ongoing";
                Ended::unsettled(ErrorClass::BadAnswer, message)
            }
        }
    }

    fn failed(&self, status: &Status, limit: usize) -> Ended {
        if let Some(cause) = status.source() {
            return not_told(cause);
        }
        let (code, message) = (status.code(), words::cut(status.message()));
        let said = format!("gRPC {code:?}: {message}");
        let ended = match code {
            Code::Aborted => Ended::answered(Outcome::Failure { message }),
            Code::ResourceExhausted => Ended::unsettled(ErrorClass::Overloaded, said),
            Code::Unavailable => Ended::unanswered(ErrorClass::Overloaded, said),
            Code::DeadlineExceeded => Ended::unanswered(ErrorClass::TimedOut, said),
            Code::OutOfRange if message.starts_with(TOO_LARGE) => too_large(limit),
            _ => Ended::unsettled(ErrorClass::Internal, said),
        };
        ended.after(self.after_ms(status))
    }

    fn after_ms(&self, status: &Status) -> Option<u64> {
        let delay = status.get_details_retry_info()?.retry_delay?;
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Some(retry_after::bounded(delay_ms, &self.options))
    }
}

/// The participant has told no status: the connection could not be made, or broke.
fn not_told(cause: &(dyn std::error::Error + 'static)) -> Ended {
    let mut next = Some(cause);
    let mut class = ErrorClass::Internal;
    while let Some(error) = next {
        if error.is::<tonic::ConnectError>() {
            class = ErrorClass::Unreachable;
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::InvalidData
        {
            class = ErrorClass::BadAnswer;
        }
        next = error.source();
    }
    Ended::unanswered(class, words::chain(cause))
}

fn too_large(limit: usize) -> Ended {
    let message = format!("the answer is larger than {limit} bytes (response_bytes_max)");
    Ended::unsettled(ErrorClass::BadAnswer, message)
}

fn request(call: &Call) -> Result<Request<ParticipantCallRequest>, InvalidMetadataValue> {
    let mut request = Request::new(ParticipantCallRequest {
        operation: call.endpoint.operation().to_owned(),
        saga_id: call.saga.clone(),
        definition: call.definition.clone(),
        step: call.step.clone(),
        phase: phase(call.mode, call.phase).into(),
        attempt: call.attempt,
        idempotency_key: call.idempotency_key.clone(),
        payload: call.payload.clone(),
        action_output: call.action_output.clone(),
        saga_started_at_ms: call.started_at_ms,
    });
    if let Some(traceparent) = &call.traceparent {
        let value = traceparent.parse()?;
        request.metadata_mut().insert("traceparent", value);
    }
    Ok(request)
}

fn phase(mode: Mode, phase: Phase) -> SagaPhase {
    match (mode, phase) {
        (Mode::Saga, Phase::Action) => SagaPhase::Action,
        (Mode::Saga, Phase::Undo) => SagaPhase::Undo,
        (Mode::Tcc, Phase::Action) => SagaPhase::Try,
        (Mode::Tcc, Phase::Undo) => SagaPhase::Cancel,
        (Mode::Saga | Mode::Tcc, Phase::Confirm) => SagaPhase::Confirm,
    }
}
