use std::{
    error::Error as _,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, InvalidHeaderValue, USER_AGENT},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use outrigger_core::saga::{ErrorClass, Outcome};

use super::{
    Call, Options, body, connector::connector, ended::Ended, resolver::Resolver, retry_after, words,
};

const SAGA_ID: HeaderName = HeaderName::from_static("outrigger-saga-id");
const STEP: HeaderName = HeaderName::from_static("outrigger-step");
const PHASE: HeaderName = HeaderName::from_static("outrigger-phase");
const ATTEMPT: HeaderName = HeaderName::from_static("outrigger-attempt");
const SAGA_STARTED_AT: HeaderName = HeaderName::from_static("outrigger-saga-started-at");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Room for all headers of a request.
const HEADERS: usize = 11;
/// The HTTP library does not do with less for the head of an answer.
const HEAD_BYTES_MIN: usize = 8_192;

/// Calls one authority over HTTP/1.1. A request that meets a connection which the other
/// side has closed goes out on another one only if not a byte of it was sent.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: Client<HttpConnector<Resolver>, Full<Bytes>>,
    options: Arc<Options>,
}

impl HttpClient {
    pub(super) fn new(options: &Arc<Options>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(options.idle_connection_ms))
            .pool_max_idle_per_host(options.idle_connections_per_authority_max)
            .http1_max_buf_size(options.response_head_bytes_max.max(HEAD_BYTES_MIN))
            .build(connector(options));
        Self {
            client,
            options: Arc::clone(options),
        }
    }

    /// Makes one call, however long it takes.
    pub(super) async fn call(&self, call: &Call) -> Ended {
        let request = match request(call) {
            Ok(request) => request,
            Err(error) => {
                return Ended::illegal(format!("a call that HTTP headers cannot express: {error}"));
            }
        };
        match self.client.request(request).await {
            Ok(response) => self.answered(response, call.response_bytes_max).await,
            Err(error) if error.is_connect() => {
                Ended::unanswered(ErrorClass::Unreachable, words::chain(&error))
            }
            Err(error) => {
                let cause = error.source().and_then(|cause| cause.downcast_ref());
                let class = cause.map_or(ErrorClass::Internal, class);
                Ended::unanswered(class, words::chain(&error))
            }
        }
    }

    async fn answered(&self, response: Response<Incoming>, bytes_max: usize) -> Ended {
        let (head, body) = response.into_parts();
        let status = head.status;
        if status.is_success() && status != StatusCode::ACCEPTED {
            let limit = bytes_max.min(self.options.response_bytes_max);
            return match body::whole(body, limit).await {
                Ok(output) => Ended::answered(Outcome::Success { output }),
                Err(body::Error::Http(error)) => broken_off(status, &error),
                Err(error @ body::Error::TooLarge { .. }) => {
                    Ended::unsettled(ErrorClass::BadAnswer, format!("HTTP {status}: {error}"))
                }
            };
        }
        let body = match body::beginning(body, self.options.words_bytes_max).await {
            Ok(body) => body,
            Err(error) => return broken_off(status, &error),
        };
        let message = words::of(&body);
        let after_ms = retry_after::read(&head.headers, &self.options, SystemTime::now());
        unsuccessful(status, message).after(after_ms)
    }
}

/// What a status without an output means.
fn unsuccessful(status: StatusCode, message: String) -> Ended {
    let said = || match message.as_str() {
        "" => format!("HTTP {status}"),
        words => format!("HTTP {status}: {words}"),
    };
    match status {
        StatusCode::CONFLICT => Ended::answered(Outcome::Failure { message }),
        StatusCode::ACCEPTED | StatusCode::TOO_EARLY => {
            Ended::unsettled(ErrorClass::Ongoing, said())
        }
        StatusCode::TOO_MANY_REQUESTS => Ended::unsettled(ErrorClass::Overloaded, said()),
        StatusCode::SERVICE_UNAVAILABLE => Ended::unanswered(ErrorClass::Overloaded, said()),
        // Something before the participant speaks in its place.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Ended::unanswered(ErrorClass::Internal, said())
        }
        // Redirections too: who answers elsewhere is not whom the saga named.
        _ => Ended::unsettled(ErrorClass::Internal, said()),
    }
}

/// There is a status, but not all that follows it.
fn broken_off(status: StatusCode, error: &hyper::Error) -> Ended {
    let message = format!("HTTP {status}, and then: {}", words::chain(error));
    Ended::unanswered(class(error), message)
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, InvalidHeaderValue> {
    let mut request = Request::new(Full::new(call.payload.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = call.endpoint.uri().clone();
    let headers = request.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(USER_AGENT, HeaderValue::from_static("outrigger"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SAGA_ID, value(&call.saga)?);
    headers.insert(STEP, value(&call.step)?);
    headers.insert(PHASE, HeaderValue::from_static(call.phase_name()));
    headers.insert(ATTEMPT, HeaderValue::from(call.attempt));
    headers.insert(SAGA_STARTED_AT, HeaderValue::from(call.started_at_ms));
    headers.insert(IDEMPOTENCY_KEY, value(&call.idempotency_key)?);
    if let Some(traceparent) = &call.traceparent {
        headers.insert(TRACEPARENT, value(traceparent)?);
    }
    Ok(request)
}

/// Letters beyond ASCII go as UTF-8.
fn value(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_bytes(text.as_bytes())
}

fn class(error: &hyper::Error) -> ErrorClass {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let is_garbage = cause.is_some_and(|cause: &io::Error| {
        // Chunks that are none.
        matches!(
            cause.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        )
    });
    if error.is_parse() || is_garbage {
        ErrorClass::BadAnswer
    } else {
        ErrorClass::Internal
    }
}
