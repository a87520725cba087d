//! The life of `outrigger serve`: ports, log, services, drain.

use std::{future::pending, io, sync::Arc, time::Duration};

use outrigger_log::Log;
use outrigger_proto::{
    FILE_DESCRIPTOR_SET,
    stored::{
        admin_server::AdminServer, consumer_server::ConsumerServer, guard_server::GuardServer,
        producer_server::ProducerServer,
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    check_back, clock,
    config::{Address, Config},
    delivery,
    edge::{AdminService, Groups, GuardService, ProducerService, Topics},
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

/// HTTP/2 windows: a stream of batches needs more than the 64 KiB of the standard to keep
/// a fast disk busy.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

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
    let (grpc_address, http_address) = (address_of(&grpc), address_of(&http));

    let readiness = Readiness::default();
    tokio::spawn(http::serve(
        http,
        readiness.clone(),
        http::install_metrics()?,
    ));

    let log = tokio::select! {
        log = Log::open(options::log(&config)) => log?,
        () = signals.next() => return Ok(()),
    };
    let gauges = tokio::spawn(gauges::keep(log.clone()));
    let (stop, stopping) = watch::channel(false);
    let services = Services::start(&config, &log, readiness.clone(), stopping.clone()).await?;
    let mut server = tokio::spawn(services.run(grpc, stopping));
    readiness.set(true);
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
    }
    tracing::info!(drain_ms = config.drain_ms, "draining");
    readiness.set(false);
    let _ = stop.send(true);
    tokio::select! {
        drained = timeout(Duration::from_millis(config.drain_ms), &mut server) => {
            if drained.is_err() {
                tracing::warn!("calls were still under way when the drain time was over");
            }
        }
        () = signals.next() => {
            tracing::warn!("second signal: ending at once");
            return Ok(());
        }
    }
    gauges.abort();
    tokio::select! {
        () = log.shutdown() => tracing::info!("stopped"),
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

/// SIGTERM and SIGINT, one after the other.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            Some(()) = self.terminate.recv() => {}
            Some(()) = self.interrupt.recv() => {}
            else => pending().await,
        }
    }
}

/// Everything that the gRPC port serves.
struct Services {
    producer: ProducerService,
    consumer: delivery::Service,
    guard: GuardService,
    admin: AdminService,
    message_bytes_max: usize,
}

impl Services {
    async fn start(
        config: &Config,
        log: &Log,
        readiness: Readiness,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let limits = Arc::new(config.limits.clone());
        let topics = Topics::new(log.clone(), config.auto_create, config.default_queues);
        let groups = Groups::new(log.clone(), config.delivery.clone());
        let check_back = check_back::start(log.clone(), options::check_back(config), stopping)?;
        let guards = guards::Guards::new(log.clone(), options::guards(config)?)?;
        let consumer = delivery::Service::new(log.clone(), options::delivery(config));
        Ok(Self {
            producer: ProducerService::new(
                log.clone(),
                topics.clone(),
                limits.clone(),
                check_back.callbacks(),
            ),
            consumer: consumer.clone(),
            guard: GuardService::new(guards),
            admin: AdminService::new(
                log.clone(),
                topics,
                groups,
                consumer,
                check_back.last_checks(),
                readiness,
            ),
            message_bytes_max: options::request_bytes_max(config),
        })
    }

    async fn run(
        self,
        listener: TcpListener,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let (health_reporter, health) = tonic_health::server::health_reporter();
        health_reporter
            .set_serving::<ProducerServer<ProducerService>>()
            .await;
        health_reporter
            .set_serving::<ConsumerServer<delivery::Service>>()
            .await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let consumer = self.consumer.clone();
        let drain = async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            health_reporter
                .set_service_status("", tonic_health::ServingStatus::NotServing)
                .await;
            consumer.drain();
        };
        let bytes = self.message_bytes_max;
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_service(health)
            .add_service(reflection)
            .add_service(ProducerServer::new(self.producer).max_decoding_message_size(bytes))
            .add_service(ConsumerServer::new(self.consumer).max_decoding_message_size(bytes))
            .add_service(GuardServer::new(self.guard))
            .add_service(AdminServer::new(self.admin))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                drain,
            )
            .await?;
        Ok(())
    }
}
