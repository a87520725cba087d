//! An in-process sidecar that fails on purpose.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a part of tests, of which every file uses another piece"
)]

pub mod consumer;
pub mod producer;
pub mod saga;

use std::net::SocketAddr;

use outrigger_proto::v1::{
    consumer_server::ConsumerServer, guard_server::GuardServer, producer_server::ProducerServer,
    saga_server::SagaServer,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::transport::Server;

pub use consumer::FakeConsumer;
pub use producer::FakeProducer;
pub use saga::FakeSagas;

/// Serves the fakes on a free port of the loopback until it is dropped.
pub struct Sidecar {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Sidecar {
    pub async fn start(producer: FakeProducer, consumer: FakeConsumer) -> Self {
        Self::start_with_sagas(producer, consumer, FakeSagas::default()).await
    }

    pub async fn start_with_sagas(
        producer: FakeProducer,
        consumer: FakeConsumer,
        sagas: FakeSagas,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Without this every small answer waits for a delayed acknowledgement.
        let connections = TcpListenerStream::new(listener).map(|connection| {
            connection.and_then(|connection| connection.set_nodelay(true).map(|()| connection))
        });
        let serving = tokio::spawn(async move {
            Server::builder()
                .add_service(ProducerServer::new(producer))
                .add_service(ConsumerServer::new(consumer.clone()))
                .add_service(GuardServer::new(consumer))
                .add_service(SagaServer::new(sagas))
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        Self { address, serving }
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
