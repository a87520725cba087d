use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use outrigger_log::Log;
use tokio::{sync::watch, time::timeout};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    service::Routes,
};

use crate::{delivery::not_leading, edge::status::Failure};

/// How long a call waits until a majority has said that this node still leads.
const CONFIRM_MS_MAX: u64 = 2_000;

/// How long a call waits for the log to be opened.
const START_MS_MAX: u64 = 5_000;

/// Who answers applications at the moment.
#[derive(Clone)]
pub(super) enum Stage {
    /// The log is not there yet. Calls wait a little: after a restart it is there in a moment.
    Starting,
    /// Nobody here, because of this.
    Closed(Failure),
    /// This node, which leads.
    Open {
        /// The log that it leads.
        log: Log,
        /// The services of its tenure.
        routes: Routes,
    },
}

/// Passes calls of applications to the services of the tenure, and answers for them while
/// there is none. A leader that may have been replaced asks the others first, so that nothing
/// is read from the past.
#[derive(Clone)]
pub(super) struct Gate {
    stage: watch::Receiver<Stage>,
}

impl Gate {
    pub(super) fn new(stage: watch::Receiver<Stage>) -> Self {
        Self { stage }
    }
}

type Answer = http::Response<Body>;

impl<B> Service<http::Request<B>> for Gate
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let stage = self.stage.borrow().clone();
        match stage {
            Stage::Open { log, mut routes } if log.has_lease() => routes.call(request).boxed(),
            Stage::Closed(failure) => std::future::ready(Ok(refusal(failure))).boxed(),
            Stage::Open { log, routes } => confirmed(log, routes, request).boxed(),
            Stage::Starting => {
                let mut stages = self.stage.clone();
                async move {
                    let limit = Duration::from_millis(START_MS_MAX);
                    let started = stages.wait_for(|stage| !matches!(stage, Stage::Starting));
                    let stage = match timeout(limit, started).await {
                        Ok(Ok(stage)) => stage.clone(),
                        Ok(Err(_)) | Err(_) => Stage::Starting,
                    };
                    match stage {
                        Stage::Starting => Ok(refusal(not_ready())),
                        Stage::Closed(failure) => Ok(refusal(failure)),
                        Stage::Open { log, routes } => confirmed(log, routes, request).await,
                    }
                }
                .boxed()
            }
        }
    }
}

/// The answer of a leader that may have been replaced.
async fn confirmed<B>(
    log: Log,
    mut routes: Routes,
    request: http::Request<B>,
) -> Result<Answer, Infallible>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = Duration::from_millis(CONFIRM_MS_MAX);
    match log.has_lease() {
        true => routes.call(request).await,
        false => match timeout(limit, log.confirm_leadership()).await {
            Ok(Ok(())) => routes.call(request).await,
            Ok(Err(_)) | Err(_) => Ok(refusal(not_leading())),
        },
    }
}

fn not_ready() -> Failure {
    let message = "this node does not take part yet; its /ready says why";
    Failure::new(Code::Unavailable, "NOT_READY", message)
}

fn refusal(failure: Failure) -> Answer {
    Status::from(failure).into_http()
}
