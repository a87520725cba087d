//! A participant of sagas in this process: an HTTP server that does each effect once, answers
//! as it was told to, and remembers who called it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};

/// How a call is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is done; what it gives back.
    Done(Value),
    /// It is refused for a reason of the business.
    Refused(&'static str),
    /// With this status and this body.
    With(u16, Bytes),
    /// Not at all.
    Never,
}

/// One call that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where to.
    pub path: String,
    /// Of which saga.
    pub saga: String,
    /// What for.
    pub phase: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// The idempotency key.
    pub key: String,
    /// What with.
    pub body: String,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Participant {
    address: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    /// Paths whose calls wait.
    held: watch::Sender<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Seen {
    calls: Vec<Call>,
    /// What is answered next, and what is answered then.
    scripts: BTreeMap<String, (VecDeque<Answer>, Answer)>,
    /// What was settled with each idempotency key.
    settled: BTreeMap<String, (String, Answer)>,
}

impl Participant {
    /// Begins to listen; every call is done and gives back `{}`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            held: watch::Sender::default(),
        });
        let router = Router::new().fallback(serve);
        let router = router.with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// As in `http://127.0.0.1:1234/reserve`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Answers calls to a path so from now on.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answer_first(path, Vec::new(), answer);
    }

    /// Answers the next calls to a path so, one after the other, and all that follow with the
    /// last answer.
    pub fn answer_first(&self, path: &str, first: Vec<Answer>, then: Answer) {
        let path = format!("/{path}");
        self.shared
            .seen()
            .scripts
            .insert(path, (first.into(), then));
    }

    /// Lets calls to a path wait.
    pub fn hold(&self, path: &str) {
        let path = format!("/{path}");
        self.shared.held.send_modify(|held| {
            held.insert(path);
        });
    }

    /// Lets them go on.
    pub fn release(&self, path: &str) {
        let path = format!("/{path}");
        self.shared.held.send_modify(|held| {
            held.remove(&path);
        });
    }

    /// All calls to a path, in the order in which they came.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        let path = format!("/{path}");
        let seen = self.shared.seen();
        let calls = seen.calls.iter().filter(|call| call.path == path);
        calls.cloned().collect()
    }

    /// The paths of what was done, each as often as it was done, in order of the idempotency
    /// keys.
    pub fn effects(&self) -> Vec<String> {
        let seen = self.shared.seen();
        let done = seen.settled.values();
        let done = done.filter(|(_, answer)| matches!(answer, Answer::Done(_)));
        done.map(|(path, _)| path.trim_start_matches('/').to_owned())
            .collect()
    }

    /// How often a path was done.
    pub fn done(&self, path: &str) -> usize {
        self.effects().iter().filter(|done| *done == path).count()
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// A call that was settled is answered as it was before.
    fn answer(&mut self, call: &Call) -> Answer {
        if let Some((_, answer)) = self.settled.get(&call.key) {
            return answer.clone();
        }
        let answer = match self.scripts.get_mut(&call.path) {
            Some((first, then)) => first.pop_front().unwrap_or_else(|| then.clone()),
            None => Answer::Done(Value::Object(serde_json::Map::new())),
        };
        if matches!(answer, Answer::Done(_) | Answer::Refused(_)) {
            let settled = (call.path.clone(), answer.clone());
            self.settled.insert(call.key.clone(), settled);
        }
        answer
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let call = Call {
        path: uri.path().to_owned(),
        saga: header("outrigger-saga-id"),
        phase: header("outrigger-phase"),
        attempt: header("outrigger-attempt").parse().unwrap_or(0),
        key: header("idempotency-key"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    shared.seen().calls.push(call.clone());
    let mut held = shared.held.subscribe();
    let _ = held.wait_for(|held| !held.contains(&call.path)).await;
    let answer = shared.seen().answer(&call);
    match answer {
        Answer::Done(output) => output.to_string().into_response(),
        Answer::Refused(message) => (StatusCode::CONFLICT, message).into_response(),
        Answer::With(status, body) => {
            let status = StatusCode::from_u16(status);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, body).into_response()
        }
        Answer::Never => {
            sleep(Duration::from_secs(3_600)).await;
            StatusCode::REQUEST_TIMEOUT.into_response()
        }
    }
}
