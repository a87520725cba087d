//! Sagas, as applications and people see them: real sidecars, real participants.

mod bad_answers;
mod by_hand;
mod crash;
mod grpc;
mod messages;
mod shop;
mod tcc;
mod time;

use std::time::Duration;

use outrigger_sdk::saga::Status;
use outrigger_tests::participant::{Answer, Participant};
use serde_json::json;

use self::shop::{Shop, define, order};
use crate::harness::{Bench, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_over_two_http_participants_and_a_grpc_one_completes() {
    for config in ["", "groups = 3"] {
        let bench = Bench::start_with_config(config);
        let shop = Shop::start().await;
        let sagas = bench.client().await.sagas();
        define(&sagas, &order(&shop)).await;
        shop.stock
            .answer("reserve", Answer::Done(json!({"reservation": 17})));
        let ended = sagas
            .start("order-1", "order", &json!({"order": 1}))
            .wait(Duration::from_secs(30))
            .await
            .expect("started");
        assert_eq!(ended.status, Status::Completed, "{ended:?}");
        let output: serde_json::Value = ended.output().expect("JSON");
        assert_eq!(output["reserve"], json!({"reservation": 17}));
        assert_eq!(output["debit"], json!({"points": "debited"}));

        assert_eq!(shop.stock.effects(), ["reserve"]);
        assert_eq!(shop.pay.effects(), ["charge"]);
        assert_eq!(shop.points.effects(), ["order-1/debit/action"]);
        let charged = &shop.pay.calls("charge")[0];
        assert_eq!(charged.saga, "order-1");
        assert_eq!(charged.key, "order-1/charge/action");
        assert_eq!(charged.body, r#"{"reservation":17}"#);
        assert_eq!((charged.phase.as_str(), charged.attempt), ("action", 1));

        let details = sagas.get("order-1").await.expect("there");
        assert!(details.steps.iter().all(|step| step.attempt == 1));
        let last = details.history.last().expect("a history");
        assert_eq!(last.event, "completed");
        // The same start again changes nothing.
        let again = sagas
            .start("order-1", "order", &json!({"order": 1}))
            .await
            .expect("started before");
        assert_eq!(again.status, Status::Completed);
        let other = sagas.start("order-1", "order", &json!({"order": 2})).await;
        let other = other.expect_err("another input");
        assert!(
            matches!(other, outrigger_sdk::saga::Error::Conflict(_)),
            "{other}"
        );
        assert_eq!(shop.pay.effects(), ["charge"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_business_undoes_what_was_done_and_the_result_is_told() {
    let bench = Bench::start();
    let shop = Shop::start().await;
    let told = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    let definition = format!(
        "{}deliver_to: [ {{ webhook: \"{}\" }} ]\n",
        order(&shop),
        told.url("done")
    );
    define(&sagas, &definition).await;
    shop.pay
        .answer("charge", Answer::Refused("the card is blocked"));
    let ended = sagas
        .start("order-1", "order", &json!({"order": 1}))
        .wait(Duration::from_secs(30))
        .await
        .expect("started");
    assert_eq!(ended.status, Status::Undone, "{ended:?}");
    let cause = &ended.undo_cause;
    assert!(
        cause.contains("charge") && cause.contains("the card is blocked"),
        "{cause}"
    );
    assert_eq!(shop.stock.effects(), ["reserve", "release"]);
    let points = shop.points.effects();
    assert_eq!(points, ["order-1/debit/action", "order-1/debit/undo"]);
    // Steps are undone after those that depend on them, and what was only refused is not.
    assert_eq!(shop.pay.calls("refund").len(), 0);
    eventually("the result is told", async || told.done("done") == 1).await;
    let body = &told.calls("done")[0].body;
    assert!(
        body.contains("order-1") && body.contains("undone"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_tells_of_sagas_and_a_process_may_leave_them_to_others() {
    let bench = Bench::start_with_config("[saga]\nexecute = false");
    let shop = Shop::start().await;
    let sagas = bench.client().await.sagas();
    define(&sagas, &order(&shop)).await;
    let started = sagas
        .start("order-1", "order", &json!({"order": 1}))
        .wait(Duration::from_millis(1_500))
        .await
        .expect("started");
    assert_eq!(started.status, Status::Running);
    assert!(
        shop.stock.calls("reserve").is_empty(),
        "nobody carries it out"
    );
    let undone = sagas.by_hand("ann", "never mind").undo("order-1").await;
    assert_eq!(undone.expect("taken").status, Status::Undoing);
}
