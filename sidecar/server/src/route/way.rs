use std::{
    convert::Infallible,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tonic::{body::Body, codegen::Service};

type Calling = BoxFuture<'static, Response<Body>>;

/// The way to the leader of one data group, whatever it is made of: a connection that finds
/// the leader, or services in this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Way(Arc<dyn Fn(Request<Body>) -> Calling + Send + Sync>);

impl Way {
    pub(super) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        Self(Arc::new(move |request| {
            let mut service = service.clone();
            async move {
                let called = async {
                    poll_fn(|context| service.poll_ready(context)).await?;
                    service.call(request).await
                };
                match called.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            .boxed()
        }))
    }

    /// Makes a call.
    pub(super) fn ask(&self, request: Request<Body>) -> Calling {
        (self.0)(request)
    }
}

impl Service<Request<Body>> for Way {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.ask(request).map(Ok).boxed()
    }
}
