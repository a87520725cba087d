//! Sagas of applications whose sidecars, and the cluster behind them, are killed.

use std::time::Duration;

use outrigger::saga::definition_file;
use outrigger_sdk::{
    Client,
    saga::{Client as Sagas, Status},
};
use outrigger_tests::{
    participant::Participant,
    sidecar::{Settings, Sidecar},
};
use serde_json::json;

use crate::harness::{Bench, eventually};

const SAGAS: u32 = 20;

async fn define(sagas: &Sagas, shop: &Participant) {
    let (reserve, release) = (shop.url("reserve"), shop.url("release"));
    let (charge, refund) = (shop.url("charge"), shop.url("refund"));
    let retry = "retry: { base_ms: 10, cap_ms: 500 }";
    let definition = format!(
        "name: order\nsteps:\n  - name: reserve\n    action: {{ http: \"{reserve}\", {retry} }}\n    undo: {{ http: \"{release}\" }}\n  - name: charge\n    depends_on: [reserve]\n    action: {{ http: \"{charge}\", {retry} }}\n    undo: {{ http: \"{refund}\" }}\n"
    );
    let definition = definition_file::parse(&definition).expect("a definition");
    sagas.define(&definition).await.expect("defined");
}

async fn all_complete(sagas: &Sagas, shop: &Participant) {
    for number in 0..SAGAS {
        let ended = sagas
            .wait(format!("order-{number}"), Duration::from_secs(60))
            .await;
        let ended = ended.expect("there");
        assert_eq!(ended.status, Status::Completed, "{ended:?}");
    }
    assert_eq!(shop.done("reserve"), SAGAS as usize);
    assert_eq!(shop.done("charge"), SAGAS as usize);
    assert_eq!(shop.done("release") + shop.done("refund"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_carry_on_what_a_killed_sidecar_has_begun() {
    let mut bench = Bench::start_with_config("[saga]\nlease_ms = 1000").await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let nodes = [1, 2, 3].map(|id| bench.cluster.edge(id));
    let other = Settings::new(directory.path().join("other")).before(&nodes);
    let other = Sidecar::start(other).expect("another sidecar");
    let shop = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    define(&sagas, &shop).await;
    shop.hold("charge");
    for number in 0..SAGAS {
        let id = format!("order-{number}");
        sagas
            .start(&id, "order", &json!({"order": number}))
            .await
            .expect("started");
    }
    eventually("they are in the middle", async || {
        shop.calls("charge").len() >= 10
    })
    .await;
    bench.sidecar.kill().expect("killed");
    shop.release("charge");
    let sagas = Client::connect(other.uri())
        .await
        .expect("a legal address")
        .sagas();
    all_complete(&sagas, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_outlive_the_leader_of_their_log() {
    let mut bench = Bench::start().await;
    let shop = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    define(&sagas, &shop).await;
    shop.hold("charge");
    for number in 0..SAGAS {
        let id = format!("order-{number}");
        sagas
            .start(&id, "order", &json!({"order": number}))
            .await
            .expect("started");
    }
    eventually("they are in the middle", async || {
        shop.calls("charge").len() >= 10
    })
    .await;
    let leader = bench.cluster.leader().await.expect("a leader");
    bench.cluster.kill(leader).expect("killed");
    shop.release("charge");
    all_complete(&sagas, &shop).await;
}
