use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tokio::time::Instant;
use tonic::{body::Body, codegen::Service, service::Routes};
use tower::Layer;

use super::{
    Forwarder, Method, Target,
    body::UntilLeft,
    failure::{self, Fate},
    forwarder::{self, Unanswered},
    publish, unary,
};

/// Puts [`Forward`] around the services of a process.
#[derive(Clone)]
pub struct ForwardLayer {
    forwarder: Forwarder,
    guards_here: bool,
}

impl ForwardLayer {
    /// Passes to the leader what only the leader answers.
    #[must_use]
    pub fn new(forwarder: Forwarder) -> Self {
        Self {
            forwarder,
            guards_here: false,
        }
    }

    /// Leaves the calls for guards to the services of this process.
    #[must_use]
    pub fn with_guards_here(self) -> Self {
        Self {
            guards_here: true,
            ..self
        }
    }

    fn method(&self, path: &str) -> Option<Method> {
        const GUARDS: &str = "/outrigger.v1.Guard/";
        if self.guards_here && path.starts_with(GUARDS) {
            return None;
        }
        Method::of(path)
    }
}

impl Layer<Routes> for ForwardLayer {
    type Service = Forward;

    fn layer(&self, here: Routes) -> Forward {
        Forward {
            layer: Some(self.clone()),
            here,
        }
    }
}

/// Serves a call in this process or passes it to the leader: gRPC without decoding it, with
/// bodies streaming both ways and trailers as they come.
#[derive(Clone)]
pub struct Forward {
    /// Nothing in a process that is its whole cluster.
    layer: Option<ForwardLayer>,
    here: Routes,
}

impl Forward {
    /// A client of the leader: serves nothing in this process.
    #[must_use]
    pub fn client(forwarder: Forwarder) -> Self {
        ForwardLayer::new(forwarder).layer(Routes::default())
    }

    /// Serves everything in this process, which is its whole cluster.
    #[must_use]
    pub fn here(here: Routes) -> Self {
        Self { layer: None, here }
    }

    pub(super) fn serve(&self, request: Request<Body>) -> Answer {
        let mut here = self.here.clone();
        let passing = self.layer.as_ref().and_then(|layer| {
            let method = layer.method(request.uri().path())?;
            Some((layer.forwarder.clone(), method))
        });
        match passing {
            None => here.call(request).boxed(),
            Some((forwarder, method)) => {
                async move { Ok(serve(forwarder, here, method, request).await) }.boxed()
            }
        }
    }
}

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.serve(request)
    }
}

async fn serve(
    forwarder: Forwarder,
    here: Routes,
    method: Method,
    request: Request<Body>,
) -> Response<Body> {
    if forwarder::hops(&request) > 0 {
        // Whoever passed it here waits and repeats.
        let target = forwarder.target();
        return once(&forwarder, here, target, method, request).await;
    }
    match method {
        Method::Unary(repeat) => unary::run(&forwarder, here, request, repeat).await,
        Method::Publish if forwarder.target() != Target::Here => {
            publish::run(forwarder, here, request)
        }
        Method::Publish | Method::Stream => {
            let wait_ms = forwarder.options().leader_wait_ms;
            let deadline = Instant::now() + Duration::from_millis(wait_ms);
            match forwarder.leader(deadline).await {
                Some(target) => once(&forwarder, here, target, method, request).await,
                None => failure::response(failure::no_leader(wait_ms)),
            }
        }
    }
}

/// Serves a call here, or passes it on without keeping anything.
async fn once(
    forwarder: &Forwarder,
    mut here: Routes,
    target: Target,
    method: Method,
    request: Request<Body>,
) -> Response<Body> {
    match &target {
        Target::Here => {}
        Target::At(_) if forwarder::may_pass(&request) => {}
        Target::At(_) | Target::Nobody => return failure::response(failure::not_leader()),
    }
    let left = match (&target, method) {
        // The log itself answers everything that it has taken.
        (Target::Here, Method::Unary(_) | Method::Publish) => None,
        (_, Method::Unary(_)) => Some(forwarder.left(target.clone())),
        (_, Method::Publish | Method::Stream) => Some(left_or_closing(forwarder, &target)),
    };
    let calling = forwarder.call(&target, &mut here, request);
    let Some(mut left) = left else {
        return calling.await.unwrap_or_else(refused);
    };
    tokio::select! {
        answered = calling => match answered {
            Ok(response) => response.map(|body| UntilLeft::wrap(body, left)),
            Err(unanswered) => refused(unanswered),
        },
        () = &mut left => failure::response(failure::outcome_unknown()),
    }
}

fn left_or_closing(forwarder: &Forwarder, target: &Target) -> BoxFuture<'static, ()> {
    let left = forwarder.left(target.clone());
    let forwarder = forwarder.clone();
    async move {
        tokio::select! {
            () = left => {}
            () = forwarder.closing() => {}
        }
    }
    .boxed()
}

fn refused(unanswered: Unanswered) -> Response<Body> {
    tracing::debug!(why = unanswered.why, "a call could not be passed on");
    failure::response(match unanswered.fate {
        Fate::NotTaken => failure::not_leader(),
        Fate::Answered | Fate::Unknown => failure::outcome_unknown(),
    })
}
