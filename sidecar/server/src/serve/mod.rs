//! The life of `outrigger serve` and `outrigger node`: ports, log, services while leading,
//! drain.

mod courier;
mod gate;
pub(crate) mod grpc;
pub(crate) mod lead;
mod opening;
mod signals;
pub(crate) mod tenure;

use std::{io, sync::Arc, time::Duration};

use futures::future::join_all;
use outrigger_core::placement;
use outrigger_log::{self as log, Log, Logs, OpenError, cluster::Identity};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::server::TcpIncoming};

use self::{
    lead::{Common, Doors},
    opening::Opening,
};
pub(crate) use self::{opening::router, signals::Signals};
use crate::{
    check_back, clock, cluster,
    config::{Address, Config},
    forward::{self, PortLayer},
    gauges, guards,
    http::{self, Readiness},
    options, route,
    saga::{self, SagaService},
};

/// Why the sidecar could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or may not be used.
    #[error("{key} {address}: {source}")]
    Bind {
        /// Which setting.
        key: &'static str,
        /// Its value.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be handled.
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
    /// The HTTP port.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The log store.
    #[error("log store: {0}")]
    Log(#[from] outrigger_log::OpenError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Check-back.
    #[error("check-back: {0}")]
    CheckBack(#[from] check_back::Error),
    /// Guards.
    #[error("guards: {0}")]
    Guards(#[from] guards::Error),
    /// There cannot be so many data groups.
    #[error(transparent)]
    Groups(#[from] placement::Error),
    /// Calls cannot be split up among the data groups.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// gRPC reflection.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The gRPC port.
    #[error("gRPC: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

/// Runs until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
///
/// # Errors
///
/// When it cannot start; see [`Error`].
pub async fn serve(config: Config) -> Result<(), Error> {
    let started_ms = clock::now_ms();
    let mut signals = Signals::new().map_err(Error::Signals)?;
    // Ports first: a doubled start fails before it touches anything.
    let grpc = bind("listen", config.listen).await?;
    let http = bind("http", config.http).await?;
    let peer = match config.cluster.is_empty() {
        true => None,
        false => Some(bind("cluster.peer_listen", config.cluster.peer_listen()).await?),
    };
    let (grpc_address, http_address) = (address_of(&grpc), address_of(&http));
    let peer_address = peer.as_ref().map(address_of).unwrap_or_default();

    let readiness = Readiness::default();
    tokio::spawn(http::serve(
        http,
        readiness.clone(),
        http::install_metrics()?,
    ));
    let (stop, stopping) = watch::channel(false);
    let mut node = match peer {
        None => None,
        Some(peer) => {
            let edge = grpc_address.clone();
            Some(cluster::Node::begin(&config, peer, edge, readiness.clone()).await?)
        }
    };
    let closing = CancellationToken::new();
    let sagas = SagaService::new(closing.clone());
    let mut here = Routes::new(sagas.server());
    if let Some(node) = &node {
        here = here.add_service(node.service());
        tracing::info!(
            grpc = grpc_address,
            http = http_address,
            peer = peer_address,
            "the ports are open"
        );
    }
    let (here, drained) = grpc::with_health_and_reflection(here, stopping.clone()).await?;
    let forward_options = forward::Options {
        request_bytes_max: options::request_bytes_max(&config),
        ..forward::Options::default()
    };
    let wait_ms = forward_options.leader_wait_ms;
    let port = PortLayer::new(wait_ms).with_operators_here();
    let mut server = spawn_server(grpc, here.clone(), port.clone(), drained);
    let opening = Opening {
        here,
        is_alone: node.is_none(),
        options: forward_options,
        closing,
    };

    let options = options::log(&config);
    let opened = async {
        match &mut node {
            Some(node) => {
                let logs = node.open(options).await?;
                let edge = opening.open(logs.placement().groups(), &port, &config)?;
                Ok::<_, Error>((logs, edge))
            }
            None => {
                let groups = groups_of(&config).await?;
                let edge = opening.open(groups, &port, &config)?;
                Ok((Logs::open(log::Options { groups, ..options }).await?, edge))
            }
        }
    };
    let (logs, edge) = tokio::select! {
        opened = opened => opened?,
        () = signals.next() => return Ok(()),
    };
    let sagas = saga::Running::begin(&config, edge.ways.clone(), &grpc_address, &sagas);
    let common = Common {
        config: Arc::new(config.clone()),
        ways: edge.ways,
        readiness: readiness.clone(),
    };
    let gauges = tokio::spawn(gauges::keep(logs.clone()));
    let (mut leading, mut led) = (JoinSet::new(), Vec::new());
    for (log, (stage, target)) in logs.iter().zip(edge.doors) {
        let (is_led, watched) = watch::channel(false);
        led.push(watched);
        let doors = Doors {
            stage,
            target,
            is_led,
        };
        let (common, stopping) = (common.clone(), stopping.clone());
        leading.spawn(lead::follow(common, log.clone(), doors, stopping));
    }
    let problem = "is known: a majority of the nodes cannot be reached";
    let ready = http::be_ready(readiness.clone(), led, |is_led: &bool| *is_led, problem);
    tokio::spawn(ready);
    let spreading = node
        .as_ref()
        .map(|node| tokio::spawn(node.spread(logs.clone())));
    if node.is_none() {
        // Alone it leads already; a node says that it has started, and `/ready` who leads.
        tokio::select! {
            () = readiness.accepted() => {}
            Some(ended) = leading.join_next() => return ended.unwrap_or(Ok(())),
        }
    }
    tracing::info!(
        grpc = grpc_address,
        http = http_address,
        data = %config.data.display(),
        took_ms = clock::now_ms().saturating_sub(started_ms),
        "ready"
    );

    tokio::select! {
        () = signals.next() => {}
        ended = &mut server => return ended.unwrap_or(Ok(())),
        Some(ended) = leading.join_next() => if let Ok(Err(error)) = ended {
            return Err(error);
        },
    }
    tracing::info!(drain_ms = config.drain_ms, "draining");
    readiness.end("it is shutting down");
    let drain = async {
        if let Some(spreading) = spreading {
            spreading.abort();
        }
        // While there are still leaders that take them back.
        sagas
            .drain(Duration::from_millis(config.drain_ms / 2))
            .await;
        if node.is_some() {
            // Calls under way meet leaders that can answer them.
            join_all(logs.iter().map(Log::step_back)).await;
        }
        if let Some(router) = &edge.router {
            router.close();
        }
        edge.closing.cancel();
        let _ = stop.send(true);
        let limit = Duration::from_millis(config.drain_ms);
        if timeout(limit, &mut server).await.is_err() {
            tracing::warn!("calls were still under way when the drain time was over");
        }
        gauges.abort();
        logs.clone().shutdown().await;
        if let Some(node) = node {
            node.end().await;
        }
    };
    tokio::select! {
        () = drain => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("second signal: ending at once"),
    }
    Ok(())
}

/// How many data groups a process has that is its whole cluster: what is configured, or what
/// its data directory was made with, or one.
async fn groups_of(config: &Config) -> Result<u32, Error> {
    if let Some(groups) = config.groups {
        return Ok(groups);
    }
    let (data, node_id) = (config.data.clone(), options::log(config).node_id);
    let identity = spawn_blocking(move || Identity::read_or_make(&data, node_id));
    let identity = identity.await.map_err(|_| OpenError::Interrupted)?;
    let identity = identity.map_err(OpenError::from)?;
    Ok(identity.groups.unwrap_or(1))
}

pub(crate) async fn bind(key: &'static str, address: Address) -> Result<TcpListener, Error> {
    TcpListener::bind(address.socket())
        .await
        .map_err(|source| Error::Bind {
            key,
            address,
            source,
        })
}

pub(crate) fn address_of(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .map_or_else(|_| "unknown".to_owned(), |address| address.to_string())
}

/// Serves the gRPC port: `here` is answered by every process, everything else by whoever
/// leads.
fn spawn_server(
    listener: TcpListener,
    here: Routes,
    port: PortLayer,
    drained: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<Result<(), Error>> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(async move {
        let mut server = grpc::server().layer(port);
        let routed = server.add_routes(here.prepare());
        Ok(routed
            .serve_with_incoming_shutdown(incoming, drained)
            .await?)
    })
}
