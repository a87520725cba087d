use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use outrigger_proto::v1::{
    ParticipantCallRequest, ParticipantCallResponse, ParticipantDone, ParticipantOngoing,
    SagaPhase,
    participant_call_response::Outcome::{Done, Ongoing},
    participant_server::{Participant, ParticipantServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    Caller, Endpoint, ErrorClass, KeptBack, Mode, NotTried, Options, Outcome, Phase, call, class,
    done, kept_back, unsettled,
};

/// A request and its trace context.
type Seen = (ParticipantCallRequest, Option<String>);

/// A participant that does what the operation says.
#[derive(Clone, Default)]
struct Obedient {
    seen: Arc<Mutex<Vec<Seen>>>,
    calls: Arc<AtomicUsize>,
}

struct Served {
    participant: Obedient,
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl Participant for Obedient {
    async fn call(
        &self,
        request: Request<ParticipantCallRequest>,
    ) -> Result<Response<ParticipantCallResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let traceparent = request.metadata().get("traceparent");
        let traceparent = traceparent.map(|value| value.to_str().unwrap().to_owned());
        let request = request.into_inner();
        let (verb, number) = request
            .operation
            .split_once(' ')
            .unwrap_or((&request.operation, "0"));
        let number: usize = number.parse().unwrap();
        let outcome = match verb {
            "done" => Some(Done(ParticipantDone {
                output: Bytes::from_static(b"done"),
            })),
            "large" => Some(Done(ParticipantDone {
                output: vec![b'x'; number].into(),
            })),
            "ongoing" => Some(Ongoing(ParticipantOngoing {
                retry_after_ms: number as u64,
            })),
            "nothing" => None,
            "never" => std::future::pending().await,
            "status" => {
                let code = Code::from_i32(i32::try_from(number).unwrap());
                return Err(Status::new(code, "because"));
            }
            "later" => {
                let delay = Duration::from_millis(number as u64);
                let details = ErrorDetails::with_retry_info(Some(delay));
                let status = Status::with_error_details(Code::Unavailable, "busy", details);
                return Err(status);
            }
            other => panic!("{other}"),
        };
        self.seen.lock().unwrap().push((request, traceparent));
        Ok(Response::new(ParticipantCallResponse { outcome }))
    }
}

async fn serve() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let participant = Obedient::default();
    let service = ParticipantServer::new(participant.clone());
    let serving = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    Served {
        participant,
        url,
        serving,
    }
}

impl Served {
    fn endpoint(&self, operation: &str) -> Endpoint {
        Endpoint::grpc("endpoint", &self.url, operation).unwrap()
    }

    async fn outcome(&self, caller: &Caller, operation: &str) -> Result<Outcome, NotTried> {
        caller.call(&call(self.endpoint(operation))).await
    }
}

#[tokio::test]
async fn every_answer_means_one_thing() {
    let served = serve().await;
    let caller = Caller::new(Options::default());
    assert_eq!(served.outcome(&caller, "done").await, done());
    let message = "because".to_owned();
    let aborted = format!("status {}", Code::Aborted as i32);
    assert_eq!(
        served.outcome(&caller, &aborted).await,
        Ok(Outcome::Failure { message })
    );
    for (asked, after_ms) in [(0, None), (1_500, Some(1_500)), (600_000, Some(60_000))] {
        let is = served.outcome(&caller, &format!("ongoing {asked}")).await;
        let (class, _, retry_after_ms) = unsettled(is);
        assert_eq!((class, retry_after_ms), (ErrorClass::Ongoing, after_ms));
    }
    let is = served.outcome(&caller, "nothing").await;
    assert_eq!(class(is), ErrorClass::BadAnswer);
    for code in 1..=16 {
        let expected = match Code::from_i32(code) {
            Code::Aborted => continue,
            Code::ResourceExhausted | Code::Unavailable => ErrorClass::Overloaded,
            Code::DeadlineExceeded => ErrorClass::TimedOut,
            _ => ErrorClass::Internal,
        };
        let (class, message, _) =
            unsettled(served.outcome(&caller, &format!("status {code}")).await);
        assert_eq!(class, expected, "{message}");
        let code = Code::from_i32(code);
        assert_eq!(message, format!("gRPC {code:?}: because"));
    }
    let (class, _, after_ms) = unsettled(served.outcome(&caller, "later 2500").await);
    assert_eq!((class, after_ms), (ErrorClass::Overloaded, Some(2_500)));
}

#[tokio::test]
async fn a_participant_is_told_what_it_is_called_for() {
    let served = serve().await;
    let caller = Caller::new(Options::default());
    let mut call = call(served.endpoint("done"));
    call.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    call.action_output = Some(Bytes::from_static(b"17"));
    for (mode, phase, expected) in [
        (Mode::Saga, Phase::Action, SagaPhase::Action),
        (Mode::Saga, Phase::Undo, SagaPhase::Undo),
        (Mode::Tcc, Phase::Action, SagaPhase::Try),
        (Mode::Tcc, Phase::Confirm, SagaPhase::Confirm),
        (Mode::Tcc, Phase::Undo, SagaPhase::Cancel),
    ] {
        (call.mode, call.phase) = (mode, phase);
        call.attempt += 1;
        assert_eq!(caller.call(&call).await, done());
        let (request, traceparent) = served.participant.seen.lock().unwrap().pop().unwrap();
        assert_eq!(traceparent, call.traceparent);
        let expected = ParticipantCallRequest {
            operation: "done".to_owned(),
            saga_id: "order-17".to_owned(),
            definition: "order".to_owned(),
            step: "reserve".to_owned(),
            phase: expected.into(),
            attempt: call.attempt,
            idempotency_key: "order-17/reserve/action".to_owned(),
            payload: Bytes::from_static(br#"{"amount":12}"#),
            action_output: Some(Bytes::from_static(b"17")),
            saga_started_at_ms: 1_700_000_000_000,
        };
        assert_eq!(request, expected);
    }
    call.traceparent = Some("two\nlines".to_owned());
    assert_eq!(class(caller.call(&call).await), ErrorClass::Internal);
    assert_eq!(
        served.participant.calls.load(Ordering::SeqCst),
        5,
        "nothing was sent"
    );
}

#[tokio::test]
async fn an_output_is_taken_up_to_its_limit() {
    const LIMIT: usize = 1 << 20;
    let served = serve().await;
    let caller = Caller::new(Options::default());
    let is = served.outcome(&caller, &format!("large {LIMIT}")).await;
    let output = vec![b'x'; LIMIT].into();
    assert_eq!(is, Ok(Outcome::Success { output }));
    for length in [LIMIT + 1, 5 << 20] {
        let is = served.outcome(&caller, &format!("large {length}")).await;
        let (class, message, _) = unsettled(is);
        assert_eq!(class, ErrorClass::BadAnswer, "{message}");
        assert!(
            message.contains("1048576 bytes (response_bytes_max)"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_call_that_nobody_answers_settles_nothing() {
    let served = serve().await;
    let caller = Caller::new(Options::default());
    let mut never = call(served.endpoint("never"));
    never.timeout_ms = 30;
    let (class, message, _) = unsettled(caller.call(&never).await);
    assert_eq!(
        (class, message.as_str()),
        (ErrorClass::TimedOut, "no answer in 30 ms")
    );
    assert_eq!(served.participant.calls.load(Ordering::SeqCst), 1);
    // The connection goes on.
    assert_eq!(served.outcome(&caller, "done").await, done());

    // Its port is taken, but nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let nobody = Endpoint::grpc("endpoint", &url, "").unwrap();
    let (class, message, _) = unsettled(caller.call(&call(nobody)).await);
    assert_eq!(class, ErrorClass::Unreachable, "{message}");
    assert!(message.contains("refused"), "{message}");

    // Whoever speaks another protocol, or goes away.
    for bytes in [
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        "hello\r\n",
        "",
    ] {
        let other = garbage(bytes).await;
        let url = other.url.clone();
        let endpoint = Endpoint::grpc("endpoint", &url, "").unwrap();
        let is = unsettled(caller.call(&call(endpoint)).await);
        assert!(
            matches!(is.0, ErrorClass::Internal | ErrorClass::BadAnswer),
            "{is:?}"
        );
    }
}

struct Garbage {
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers every connection with these bytes and closes it.
async fn garbage(bytes: &'static str) -> Garbage {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut beginning = [0; 1_024];
            let _ = stream.read(&mut beginning).await;
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    Garbage { url, serving }
}

#[tokio::test]
async fn a_dead_participant_is_left_alone() {
    let served = serve().await;
    let options = Options {
        not_tried_jitter_ms: 1,
        breaker: outrigger_core::breaker::Options {
            failures_max: 3,
            open_base_ms: 3_600_000_000,
            open_cap_ms: 3_600_000_000,
        },
        ..Options::default()
    };
    let caller = Caller::new(options);
    let unavailable = format!("status {}", Code::Unavailable as i32);
    for _ in 0..3 {
        assert!(served.outcome(&caller, &unavailable).await.is_ok());
    }
    let calls = served.participant.calls.load(Ordering::SeqCst);
    for _ in 0..20 {
        let outcome = served.outcome(&caller, "done").await;
        assert_eq!(kept_back(outcome), KeptBack::BreakerOpen);
    }
    assert_eq!(served.participant.calls.load(Ordering::SeqCst), calls);
}
