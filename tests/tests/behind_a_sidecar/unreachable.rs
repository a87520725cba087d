//! A cluster that is not there, or not there yet.

use outrigger_proto::v1::{self, producer_client::ProducerClient};
use outrigger_tests::{
    cluster::Cluster,
    sidecar::{Settings, Sidecar},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::eventually;

async fn is_ready(sidecar: &Sidecar) -> bool {
    let readiness = outrigger_tests::cluster::get(sidecar.http(), "/ready").await;
    readiness.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cluster_a_prepare_fails_soon_and_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::prepare(3, "").expect("ports and directories");
    let nodes = [1, 2, 3].map(|id| cluster.edge(id));
    let settings = Settings::new(directory.path().join("sidecar")).before(&nodes);
    let settings = settings
        .with_config("[sidecar]\nleader_wait_ms = 100\n")
        .expect("a file");
    let sidecar = Sidecar::start(settings).expect("it starts nevertheless");
    assert!(!is_ready(&sidecar).await);

    let mut client = ProducerClient::connect(sidecar.uri())
        .await
        .expect("connected");
    let request = || v1::PrepareRequest {
        transaction_id: uuid::Uuid::now_v7().to_string(),
        producer_group: "orders".to_owned(),
        messages: vec![v1::Message {
            topic: "orders".to_owned(),
            ..Default::default()
        }],
    };
    let refused = client.prepare(request()).await.expect_err("nobody leads");
    assert_eq!(refused.code(), Code::Unavailable);
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "NO_LEADER");

    for id in 1..=3 {
        cluster.spawn(id).expect("it starts");
    }
    eventually("the sidecar is ready", async || is_ready(&sidecar).await).await;
    eventually("prepared", async || client.prepare(request()).await.is_ok()).await;
}
