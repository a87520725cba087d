//! The life of `outrigger serve` and `outrigger node`: ports, log, services while leading,
//! drain.

mod gate;
pub(crate) mod grpc;
mod lead;
mod signals;
mod tenure;

use std::{io, time::Duration};

use outrigger_log::Log;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tonic::{service::Routes, transport::server::TcpIncoming};

pub(crate) use self::signals::Signals;
use self::{
    gate::{Gate, Stage},
    lead::Doors,
};
use crate::{
    check_back, clock, cluster,
    config::{Address, Config},
    forward::{self, ForwardLayer, Forwarder, Target},
    gauges, guards,
    http::{self, Readiness},
    options,
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
    let (stage, stages) = watch::channel(Stage::Starting);
    let mut node = match peer {
        None => None,
        Some(peer) => {
            let edge = grpc_address.clone();
            Some(cluster::Node::begin(&config, peer, edge, readiness.clone()).await?)
        }
    };
    let mut here = Routes::default();
    if let Some(node) = &node {
        here = here.add_service(node.service());
        tracing::info!(
            grpc = grpc_address,
            http = http_address,
            peer = peer_address,
            "the ports are open"
        );
    }
    let (target, targets) = watch::channel(Target::Nobody);
    let forward_options = forward::Options {
        request_bytes_max: options::request_bytes_max(&config),
        ..forward::Options::default()
    };
    let forwarder = Forwarder::new(targets, forward_options);
    // Alone, this process is the leader or there is none.
    let elsewhere = node.as_ref().map(|_| ForwardLayer::new(forwarder.clone()));
    let gate = Gate::new(stages);
    let mut server = spawn_server(grpc, here, gate, elsewhere, stopping.clone()).await?;

    let options = options::log(&config);
    let open = async {
        match &mut node {
            Some(node) => Ok::<_, Error>(node.open(options).await?),
            None => Ok(Log::open(options).await?),
        }
    };
    let log = tokio::select! {
        log = open => log?,
        () = signals.next() => return Ok(()),
    };
    let gauges = tokio::spawn(gauges::keep(log.clone()));
    let mut leading = tokio::spawn(lead::follow(
        config.clone(),
        log.clone(),
        readiness.clone(),
        Doors { stage, target },
        stopping.clone(),
    ));
    if node.is_none() {
        // Alone it leads already; a node says that it has started, and `/ready` who leads.
        tokio::select! {
            () = readiness.accepted() => {}
            ended = &mut leading => return ended.unwrap_or(Ok(())),
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
        ended = &mut leading => if let Ok(Err(error)) = ended {
            return Err(error);
        },
    }
    tracing::info!(drain_ms = config.drain_ms, "draining");
    readiness.end("it is shutting down");
    let drain = async {
        if node.is_some() {
            // Calls under way meet a leader that can answer them.
            log.step_back().await;
        }
        forwarder.close();
        let _ = stop.send(true);
        let limit = Duration::from_millis(config.drain_ms);
        if timeout(limit, &mut server).await.is_err() {
            tracing::warn!("calls were still under way when the drain time was over");
        }
        gauges.abort();
        log.clone().shutdown().await;
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
/// leads, which may be `elsewhere`.
async fn spawn_server(
    listener: TcpListener,
    here: Routes,
    gate: Gate,
    elsewhere: Option<ForwardLayer>,
    stopping: watch::Receiver<bool>,
) -> Result<JoinHandle<Result<(), Error>>, Error> {
    let (here, drain) = grpc::with_health_and_reflection(here, stopping).await?;
    let routes = Routes::from(here.into_axum_router().fallback_service(gate));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = async move {
        let mut server = grpc::server();
        let served = match elsewhere {
            None => {
                let routed = server.add_routes(routes.prepare());
                routed.serve_with_incoming_shutdown(incoming, drain).await
            }
            Some(elsewhere) => {
                let routed = server.layer(elsewhere).add_routes(routes.prepare());
                routed.serve_with_incoming_shutdown(incoming, drain).await
            }
        };
        Ok(served?)
    };
    Ok(tokio::spawn(serving))
}
