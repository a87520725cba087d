//! What a process does with a call that arrives on its port for applications.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tokio::{sync::SetOnce, time::timeout};
use tonic::{Code, body::Body, codegen::Service, service::Routes};
use tower::Layer;

use super::{Method, Ways, data_group, failure, forwarder, method::SAGAS};
use crate::edge::status::Failure;

/// Begins the path of what operators ask of a cluster.
const CLUSTER: &str = "/outrigger.cluster.v1.Cluster/";
/// Begins the path of every call for a guard.
const GUARDS: &str = "/outrigger.v1.Guard/";

/// Where calls go once it is known how many data groups there are.
pub struct Opened {
    ways: Ways,
    /// Answers applications when there are several data groups.
    router: Option<Routes>,
}

impl Opened {
    /// With the services that split up what applications ask among several data groups.
    /// Where there is one they are not used.
    #[must_use]
    pub fn new(ways: Ways, router: Option<Routes>) -> Self {
        Self { ways, router }
    }
}

/// Puts [`Port`] around the services of a process.
#[derive(Clone)]
pub struct PortLayer {
    opened: Arc<SetOnce<Opened>>,
    wait_ms: u64,
    guards_here: bool,
    operators_here: bool,
}

impl PortLayer {
    /// Until it is opened calls wait for it, for `wait_ms` milliseconds.
    #[must_use]
    pub fn new(wait_ms: u64) -> Self {
        Self {
            opened: Arc::default(),
            wait_ms,
            guards_here: false,
            operators_here: false,
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

    /// Leaves what operators ask of several data groups to the services of this process.
    #[must_use]
    pub fn with_operators_here(self) -> Self {
        Self {
            operators_here: true,
            ..self
        }
    }

    /// The ways to all data groups, once they are known.
    pub async fn ways(&self) -> Ways {
        self.opened.wait().await.ways.clone()
    }

    /// Says where calls go from now on. Only the first time has an effect.
    pub fn open(&self, opened: Opened) {
        if self.opened.set(opened).is_err() {
            tracing::error!("the port was opened twice");
        }
    }
}

impl Layer<Routes> for PortLayer {
    type Service = Port;

    fn layer(&self, here: Routes) -> Port {
        Port {
            layer: self.clone(),
            here,
        }
    }
}

/// Sends each call on its way: to the data group that it names, to the only one, or to the
/// router, which knows what an application means.
#[derive(Clone)]
pub struct Port {
    layer: PortLayer,
    here: Routes,
}

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl Port {
    fn send(
        layer: &PortLayer,
        mut here: Routes,
        opened: &Opened,
        request: Request<Body>,
    ) -> Answer {
        let Opened { ways, router } = opened;
        if request.uri().path().starts_with(SAGAS) {
            return here.call(request).boxed();
        }
        let named = match data_group::named(request.headers(), ways.groups()) {
            Ok(None) if ways.groups() == 1 => Some(0),
            Ok(named) => named,
            Err(unknown) => return refused(unknown),
        };
        if let Some(way) = named.and_then(|group| ways.way(group)) {
            return way.serve(request);
        }
        let path = request.uri().path();
        let is_here = match Method::of(path) {
            None => true,
            Some(_) if path.starts_with(CLUSTER) => {
                if let Some(first) = ways.way(0).filter(|_| !layer.operators_here) {
                    return first.serve(request);
                }
                true
            }
            Some(_) => layer.guards_here && path.starts_with(GUARDS),
        };
        match router {
            _ if is_here => here.call(request).boxed(),
            Some(router) => router.clone().call(request).boxed(),
            None => refused(unrouted(ways.groups())),
        }
    }
}

impl Service<Request<Body>> for Port {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(opened) = self.layer.opened.get() {
            return Self::send(&self.layer, self.here.clone(), opened, request);
        }
        if Method::of(request.uri().path()).is_none() {
            return self.here.call(request).boxed();
        }
        if forwarder::hops(&request) > 0 {
            // Whoever passed it here waits and repeats.
            return refused(failure::not_leader());
        }
        let Self { layer, here } = self.clone();
        async move {
            let limit = Duration::from_millis(layer.wait_ms);
            match timeout(limit, layer.opened.wait()).await {
                Ok(opened) => Self::send(&layer, here, opened, request).await,
                Err(_) => Ok(failure::response(failure::no_leader(layer.wait_ms))),
            }
        }
        .boxed()
    }
}

fn refused(failure: Failure) -> Answer {
    std::future::ready(Ok(failure::response(failure))).boxed()
}

fn unrouted(groups: u32) -> Failure {
    let message = format!(
        "the cluster has {groups} data groups, and this process does not split calls up among \
         them"
    );
    Failure::new(Code::Unimplemented, "NOT_ROUTED", message)
}
