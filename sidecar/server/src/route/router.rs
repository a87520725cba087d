use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use outrigger_core::placement::Placement;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, codegen::Service, service::Routes};

use super::{
    Options, admin, check_back, consume, home::Home, publish, receive, settle, unary, way::Way,
};
use crate::edge::status::Failure;

/// Takes the calls of applications to the data groups that they concern; cheap to clone.
///
/// It is a service for the paths of `outrigger.v1`; what it does not know it answers with
/// UNIMPLEMENTED.
#[derive(Clone)]
pub struct Router {
    groups: Arc<Groups>,
}

/// Why there is no router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {ways} ways to {groups} data groups")]
pub struct Error {
    /// How many data groups there are.
    pub groups: u32,
    /// How many ways were given.
    pub ways: usize,
}

/// The data groups, as a router sees them.
pub(super) struct Groups {
    pub(super) placement: Placement,
    pub(super) options: Options,
    ways: Vec<Way>,
    pub(super) closing: CancellationToken,
}

impl Router {
    /// Over one service for each data group, in the order of their numbers: it takes a call
    /// to the leader of that group, as `forward::Forward` does, or answers it itself.
    ///
    /// # Errors
    ///
    /// When there are not as many services as data groups.
    pub fn new<S>(placement: Placement, ways: Vec<S>, options: Options) -> Result<Self, Error>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let groups = placement.groups();
        if u32::try_from(ways.len()) != Ok(groups) {
            let ways = ways.len();
            return Err(Error { groups, ways });
        }
        Ok(Self {
            groups: Arc::new(Groups {
                placement,
                options,
                ways: ways.into_iter().map(Way::new).collect(),
                closing: CancellationToken::new(),
            }),
        })
    }

    /// The router as the services of a port.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::from(axum::Router::new().fallback_service(self.clone()))
    }

    /// Ends all streams, so that a server that waits for its connections can stop: what was
    /// taken is still answered. To be called before the ways of the router are closed.
    pub fn close(&self) {
        self.groups.closing.cancel();
    }
}

impl Groups {
    /// The ways to all data groups, in the order of their numbers.
    pub(super) fn ways(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter()
    }

    /// The way to a data group.
    pub(super) fn way(&self, group: u32) -> Result<&Way, Failure> {
        let way = usize::try_from(group)
            .ok()
            .and_then(|group| self.ways.get(group));
        way.ok_or_else(|| {
            let message = format!("there is no data group {group}");
            Failure::new(Code::Internal, "UNEXPECTED_OUTCOME", message)
        })
    }
}

impl<B> Service<Request<B>> for Router
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(Body::new);
        let groups = Arc::clone(&self.groups);
        async move {
            Ok(serve(groups, request)
                .await
                .unwrap_or_else(Status::into_http))
        }
        .boxed()
    }
}

async fn serve(groups: Arc<Groups>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let path = request.uri().path();
    if let Some(home) = Home::of(path) {
        return unary::pass(&groups, home, request).await;
    }
    match path {
        "/outrigger.v1.Producer/Publish" => return Ok(publish::serve(groups, request)),
        "/outrigger.v1.Producer/CheckBack" => return Ok(check_back::serve(groups, request).await),
        "/outrigger.v1.Consumer/Consume" => return Ok(consume::serve(groups, request).await),
        "/outrigger.v1.Consumer/Receive" => return receive::receive(groups, request).await,
        "/outrigger.v1.Consumer/Ack" => return settle::ack(&groups, request).await,
        "/outrigger.v1.Consumer/Nack" => return settle::nack(&groups, request).await,
        "/outrigger.v1.Consumer/Extend" => return settle::extend(&groups, request).await,
        _ => {}
    }
    match admin::serve(&groups, request).await {
        Ok(answered) => answered,
        Err(unknown) => {
            let path = unknown.uri().path();
            Err(Status::unimplemented(format!("there is no call {path}")))
        }
    }
}
