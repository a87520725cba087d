//! The life of `outrigger sidecar`: it keeps nothing, and stands between an application and
//! the cluster.

use std::{sync::Arc, time::Duration};

use outrigger_proto::stored::guard_server::GuardServer;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tonic::{service::Routes, transport::server::TcpIncoming};

use super::{
    Finder, FinderOptions, Forward, ForwardLayer, Forwarder, Options, RemoteGuards, RemoteLog,
    RemoteLogOptions, Target,
};
use crate::{
    check_back::{self, CheckBack},
    config::Config,
    edge::GuardService,
    guards::Guards,
    http::{self, Readiness},
    options,
    serve::{Error, Signals, address_of, bind, grpc},
};

/// Without a leader for so long the sidecar is not ready. Elections take less.
const LEADERLESS_MS_MAX: u64 = 2_000;

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

    let (target, targets) = watch::channel(Target::Nobody);
    let forwarder = Forwarder::new(targets.clone(), forward_options(&config));
    let nodes = config.sidecar.nodes.clone();
    let finder = Finder::new(nodes, target, FinderOptions::default());
    tasks.spawn(finder.run(forwarder.doubt()));
    tasks.spawn(be_ready(readiness.clone(), targets));

    let (stop, stopping) = watch::channel(false);
    let leader = Forward::client(forwarder.clone());
    let check_back = start_check_back(&config, leader.clone(), stopping.clone(), &mut tasks)?;
    let mut here = Routes::default();
    let mut layer = ForwardLayer::new(forwarder.clone());
    if config.guards.redis_url.is_some() {
        let remote = Arc::new(RemoteGuards::new(leader));
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
    forwarder.close();
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

/// Opens the door while a leader can be reached.
async fn be_ready(readiness: Readiness, mut targets: watch::Receiver<Target>) {
    loop {
        let leads = *targets.borrow_and_update() != Target::Nobody;
        if leads {
            readiness.accept();
        }
        let leaderless_at = Instant::now() + Duration::from_millis(LEADERLESS_MS_MAX);
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = sleep_until(leaderless_at), if !leads && readiness.is_ready() => {
                readiness.refuse("no leader of the cluster can be reached");
            }
        }
    }
}

/// Checks the producer groups whose database is configured here. All others answer over their
/// CheckBack streams, which end at the leader.
fn start_check_back(
    config: &Config,
    leader: Forward,
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
        leader,
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
    layer: ForwardLayer,
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
