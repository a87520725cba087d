use std::time::Duration;

use outrigger_sdk::saga::Status;
use outrigger_tests::participant::Answer;
use rustix::process::Signal;
use serde_json::json;

use super::shop::{Shop, define, order};
use crate::harness::{Bench, PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_sagas_are_carried_on_and_nothing_is_done_twice() {
    let mut bench = Bench::start_with_config("[saga]\nlease_ms = 1000");
    let shop = Shop::start().await;
    let sagas = bench.client().await.sagas();
    define(&sagas, &order(&shop)).await;
    shop.pay.hold("charge");
    for number in 0..20 {
        let id = format!("order-{number}");
        sagas
            .start(&id, "order", &json!({"order": number}))
            .await
            .expect("started");
    }
    shop.stock
        .answer("reserve", Answer::Done(json!({"reservation": 1})));
    eventually("they are in the middle", async || {
        shop.pay.calls("charge").len() >= 10
    })
    .await;
    bench.sidecar.kill().expect("killed");
    shop.pay.release("charge");
    bench.sidecar.restart().expect("it starts again");
    for number in 0..20 {
        let ended = sagas
            .wait(format!("order-{number}"), Duration::from_secs(60))
            .await;
        assert_eq!(ended.expect("there").status, Status::Completed);
    }
    assert_eq!(shop.stock.done("reserve"), 20);
    assert_eq!(shop.pay.done("charge"), 20);
    assert_eq!(shop.points.effects().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_gives_its_sagas_back() {
    let mut bench = Bench::start_with_config("[saga]\nlease_ms = 600000");
    let shop = Shop::start().await;
    let sagas = bench.client().await.sagas();
    define(&sagas, &order(&shop)).await;
    shop.stock
        .answer("reserve", Answer::With(503, "busy".into()));
    sagas
        .start("order-1", "order", &json!({"order": 1}))
        .await
        .expect("started");
    eventually("it is under way", async || {
        !shop.stock.calls("reserve").is_empty()
    })
    .await;
    bench.sidecar.signal(Signal::TERM).expect("it is there");
    bench.sidecar.wait(PATIENCE).expect("it ends");
    shop.stock
        .answer("reserve", Answer::Done(json!({"reservation": 1})));
    // Nobody waits for the lease of ten minutes.
    bench.sidecar.restart().expect("it starts again");
    let ended = sagas.wait("order-1", Duration::from_secs(60)).await;
    assert_eq!(ended.expect("there").status, Status::Completed);
}
