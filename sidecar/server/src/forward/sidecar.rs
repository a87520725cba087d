//! The life of `outrigger sidecar`: it keeps nothing, and stands between an application and
//! the cluster.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use outrigger_proto::stored::guard_server::GuardServer;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::server::TcpIncoming};
use tower::Layer as _;

use super::{
    Finder, FinderOptions, Forward, Forwarder, Leaders, Opened, Options, PortLayer, RemoteGuards,
    RemoteLog, RemoteLogOptions, Target, Ways,
};
use crate::{
    check_back::{self, CheckBack},
    config::Config,
    edge::GuardService,
    guards::Guards,
    http::{self, Readiness},
    options,
    route::Router,
    saga::{Running, SagaService},
    serve::{Error, Signals, address_of, bind, grpc, router},
};

/// Runs until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
///
/// # Errors
///
/// When it cannot start; see [`Error`]. That the cluster cannot be reached is no reason.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let grpc = bind("listen", config.listen).await?;
    let http = bind("http", config.http).await?;
    let readiness = Readiness::default();
    let metrics = http::install_metrics()?;
    tracing::info!(
        grpc = address_of(&grpc),
        http = address_of(&http),
        nodes = config.sidecar.nodes.join(","),
        "the ports are open"
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(http, readiness.clone(), metrics));

    let (finder, leaders) = Finder::new(config.sidecar.nodes.clone(), FinderOptions::default());
    let (doubt, closing) = (Arc::new(Notify::new()), CancellationToken::new());
    tasks.spawn(finder.run(Arc::clone(&doubt)));
    let leader_wait_ms = config.sidecar.leader_wait_ms;
    let ports = PortLayer::new(leader_wait_ms);
    let sagas = SagaService::new(closing.clone());
    let running: Arc<Mutex<Option<Running>>> = Arc::default();
    let opening = Opening {
        ports: ports.clone(),
        config: config.clone(),
        doubt,
        closing: closing.clone(),
        readiness: readiness.clone(),
        sagas: sagas.clone(),
        address: address_of(&grpc),
        running: running.clone(),
    };
    tasks.spawn(opening.run(leaders));

    let (stop, stopping) = watch::channel(false);
    let check_back = start_check_back(&config, &ports, stopping.clone(), &mut tasks)?;
    let mut here = Routes::new(sagas.server());
    let mut layer = ports.clone();
    if config.guards.redis_url.is_some() {
        let remote = Arc::new(RemoteGuards::new(ports.layer(Routes::default())));
        let guards = Guards::with_embedded(remote, options::guards(&config)?)?;
        here = here.add_service(GuardServer::new(GuardService::new(guards)));
        layer = layer.with_guards_here();
    }
    let mut server = tokio::spawn(serve(grpc, here, layer, stopping));

    tokio::select! {
        () = signals.next() => {}
        ended = &mut server => return ended.unwrap_or(Ok(())),
    }
    tracing::info!(drain_ms = config.drain_ms, "draining");
    readiness.end("it is shutting down");
    let running = running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(sagas) = running {
        sagas
            .drain(Duration::from_millis(config.drain_ms / 2))
            .await;
    }
    closing.cancel();
    let _ = stop.send(true);
    let drain = async {
        let limit = Duration::from_millis(config.drain_ms);
        if timeout(limit, &mut server).await.is_err() {
            tracing::warn!("calls were still under way when the drain time was over");
        }
        if let Some(check_back) = check_back {
            check_back.stopped().await;
        }
    };
    tokio::select! {
        () = drain => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("second signal: ending at once"),
    }
    Ok(())
}

fn forward_options(config: &Config) -> Options {
    Options {
        leader_wait_ms: config.sidecar.leader_wait_ms,
        request_bytes_max: options::request_bytes_max(config),
        ..Options::default()
    }
}

/// What is done once a node has said how many data groups there are.
struct Opening {
    ports: PortLayer,
    config: Config,
    doubt: Arc<Notify>,
    closing: CancellationToken,
    readiness: Readiness,
    sagas: SagaService,
    /// Of this process's own port.
    address: String,
    running: Arc<Mutex<Option<Running>>>,
}

impl Opening {
    /// Opens the port for calls, and the door while all leaders can be reached.
    async fn run(self, mut leaders: Leaders) {
        let Some(targets) = leaders.known().await else {
            return;
        };
        let closing = match self.open(targets.clone()) {
            Ok(closing) => closing,
            Err(error) => {
                tracing::error!(%error, "the cluster cannot be used by this program");
                self.readiness.refuse(&error.to_string());
                return;
            }
        };
        tokio::spawn(closing);
        let has_leader = |target: &Target| *target != Target::Nobody;
        let problem = "of the cluster can be reached";
        http::be_ready(self.readiness, targets, has_leader, problem).await;
    }

    /// What it gives ends the streams when the process ends.
    fn open(
        &self,
        targets: Vec<watch::Receiver<Target>>,
    ) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
        let ending = CancellationToken::new();
        let options = forward_options(&self.config);
        let forwarders = Forwarder::for_groups(targets, &options, &self.doubt, &ending);
        let ways = Ways::new(forwarders.into_iter().map(Forward::client).collect())?;
        let router = router(&ways, &self.config)?;
        let routes = router.as_ref().map(Router::routes);
        self.ports.open(Opened::new(ways.clone(), routes));
        let running = Running::begin(&self.config, ways, &self.address, &self.sagas);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        let closing = self.closing.clone();
        Ok(async move {
            closing.cancelled().await;
            // Its streams end first, and answer what was taken.
            if let Some(router) = router {
                router.close();
            }
            ending.cancel();
        })
    }
}

/// Checks the producer groups whose database is configured here. All others answer over their
/// CheckBack streams, which end at the leader.
fn start_check_back(
    config: &Config,
    ports: &PortLayer,
    stopping: watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<CheckBack>, Error> {
    let mut options = options::check_back(config);
    options
        .groups
        .retain(|_, group| matches!(group.mode, check_back::Mode::Table { .. }));
    if options.groups.is_empty() {
        return Ok(None);
    }
    // The leader counts the time from Prepare for every transaction, and parks it.
    options.schedule.park_after_ms = u64::MAX;
    for group in options.groups.values_mut() {
        group.park_after_ms = None;
    }
    let first_check_ms = options
        .groups
        .values()
        .filter_map(|group| group.first_check_ms);
    let age_ms_min = first_check_ms.fold(options.schedule.first_check_ms, u64::min);
    let producer_groups = options.groups.keys().cloned().collect();
    let log = Arc::new(RemoteLog::new(
        ports.clone(),
        producer_groups,
        age_ms_min,
        RemoteLogOptions::default(),
    ));
    tasks.spawn(Arc::clone(&log).keep_up());
    Ok(Some(check_back::start_over(log, options, stopping)?))
}

async fn serve(
    listener: TcpListener,
    here: Routes,
    layer: PortLayer,
    stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (routes, drain) = grpc::with_health_and_reflection(here, stopping).await?;
    grpc::server()
        .layer(layer)
        .serve_with_incoming_shutdown(
            routes.prepare(),
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            drain,
        )
        .await?;
    Ok(())
}
