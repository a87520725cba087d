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

/// Who answers applications at the moment.
#[derive(Clone)]
pub(super) enum Stage {
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

impl Stage {
    /// The log is not there yet.
    pub(super) fn starting() -> Self {
        let message = "this node does not take part yet; its /ready says why";
        Self::Closed(Failure::new(Code::Unavailable, "NOT_READY", message))
    }
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
            Stage::Closed(failure) => std::future::ready(Ok(refusal(failure))).boxed(),
            Stage::Open { log, mut routes } if log.has_lease() => routes.call(request).boxed(),
            Stage::Open { log, mut routes } => async move {
                let limit = Duration::from_millis(CONFIRM_MS_MAX);
                match timeout(limit, log.confirm_leadership()).await {
                    Ok(Ok(())) => routes.call(request).await,
                    Ok(Err(_)) | Err(_) => Ok(refusal(not_leading())),
                }
            }
            .boxed(),
        }
    }
}

fn refusal(failure: Failure) -> Answer {
    Status::from(failure).into_http()
}
