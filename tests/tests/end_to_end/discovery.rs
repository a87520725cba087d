//! What tools find out by themselves: gRPC health, reflection, metrics.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use outrigger_sdk::Message;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::harness::{Bench, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_reflection_and_metrics_are_on() {
    let bench = Bench::start();
    let channel = Channel::from_shared(bench.sidecar.uri()).expect("a URI");
    let channel = channel.connect().await.expect("connected");

    for service in ["", "outrigger.v1.Producer", "outrigger.v1.Consumer"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel.clone()).check(request).await;
        let status = answer.expect("known").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers.expect("a stream").into_inner().next().await;
    let answer = answer.expect("an answer").expect("listed");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    for service in ["Producer", "Consumer", "Guard", "Admin"] {
        let name = format!("outrigger.v1.{service}");
        assert!(
            list.service.iter().any(|listed| listed.name == name),
            "{name}"
        );
    }

    let client = bench.client().await;
    let transaction = client.producer("p").transaction();
    let prepared = transaction
        .message(Message::new("t", "waits"))
        .prepare()
        .await;
    prepared.expect("prepared");
    eventually("the metrics show it", async || {
        metrics(bench.sidecar.http()).contains("outrigger_transactions_unresolved 1")
    })
    .await;
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}
