//! What every gRPC port of Outrigger has in common, whoever answers its calls.

use outrigger_proto::{
    FILE_DESCRIPTOR_SET,
    stored::{consumer_server::ConsumerServer, producer_server::ProducerServer},
};
use tokio::sync::watch;
use tonic::{service::Routes, transport::Server};

use super::Error;
use crate::{delivery, edge::ProducerService};

/// HTTP/2 windows: a stream of batches needs more than the 64 KiB of the standard to keep
/// a fast disk busy.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The services that reflection tells of: those that the ports serve. What the protocol has
/// beyond them is for others to serve (`Participant`).
pub(crate) const SERVED: [&str; 8] = [
    "outrigger.v1.Producer",
    "outrigger.v1.Consumer",
    "outrigger.v1.Guard",
    "outrigger.v1.Saga",
    "outrigger.v1.Admin",
    "outrigger.cluster.v1.Cluster",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
];

/// A server with windows that suit streams of batches.
pub(crate) fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// Adds health and reflection. The second part ends when the process is to stop, and tells the
/// health service so: what the server waits for before it drains.
pub(crate) async fn with_health_and_reflection(
    routes: Routes,
    mut stopping: watch::Receiver<bool>,
) -> Result<(Routes, impl Future<Output = ()>), Error> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter
        .set_serving::<ProducerServer<ProducerService>>()
        .await;
    health_reporter
        .set_serving::<ConsumerServer<delivery::Service>>()
        .await;
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for service in SERVED {
        reflection = reflection.with_service_name(service);
    }
    let reflection = reflection.build_v1()?;
    let drain = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        health_reporter
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
    };
    Ok((routes.add_service(health).add_service(reflection), drain))
}
