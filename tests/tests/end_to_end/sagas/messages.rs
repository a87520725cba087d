//! Steps that are messages, and their replies.

use std::time::Duration;

use outrigger_sdk::{
    Client, Message, Stop,
    barrier::Phase,
    consumer::{Received, Retry},
    saga::Status,
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::shop::define;
use crate::harness::{Bench, eventually};

const DEFINITION: &str = r#"
name: parcel
steps:
  - name: send
    action: { message: { topic: parcels, tag: send }, timeout_ms: 20000 }
    undo: { message: { topic: parcels, tag: call-back }, timeout_ms: 20000 }
"#;

/// A participant that replies by message: `{"refuse": true}` is refused.
fn participant(client: &Client) -> (JoinHandle<()>, Stop) {
    let stop = Stop::new();
    let replies = client.producer("parcels");
    let consumer = client
        .consumer("parcels")
        .subscribe("parcels", "send || call-back")
        .stop(stop.clone())
        .run(move |message: Received| {
            let replies = replies.clone();
            async move {
                let refused = message.body().starts_with(b"{\"refuse\":true");
                let (outcome, body) = match refused && message.tag() == "send" {
                    true => ("failure", "no address"),
                    false => ("success", r#"{"parcel":7}"#),
                };
                let mut reply = Message::new("outrigger.saga.replies", body);
                for name in ["outrigger-saga-id", "outrigger-step", "outrigger-phase"] {
                    let value = message.properties().get(name).cloned();
                    reply = reply.property(name, value.unwrap_or_default());
                }
                replies
                    .send(reply.property("outrigger-outcome", outcome))
                    .await?;
                Ok::<(), Retry>(())
            }
        });
    let running = tokio::spawn(async move { consumer.await.expect("it stops") });
    (running, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_a_step_and_its_reply_ends_it() {
    let bench = Bench::start();
    let client = bench.client().await;
    let sagas = client.sagas();
    define(&sagas, DEFINITION).await;
    let (running, stop) = participant(&client);
    let ended = sagas
        .start("one", "parcel", &json!({"to": "ann"}))
        .wait(Duration::from_secs(30))
        .await
        .expect("started");
    assert_eq!(ended.status, Status::Completed, "{ended:?}");
    let output: serde_json::Value = ended.output().expect("JSON");
    assert_eq!(output["send"], json!({"parcel": 7}));

    let ended = sagas
        .start("two", "parcel", &json!({"refuse": true}))
        .wait(Duration::from_secs(30))
        .await
        .expect("started");
    assert_eq!(ended.status, Status::Undone, "{ended:?}");
    assert!(
        ended.undo_cause.contains("no address"),
        "{}",
        ended.undo_cause
    );
    stop.stop();
    running.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_ends_a_message_step_as_well() {
    let bench = Bench::start();
    let client = bench.client().await;
    let sagas = client.sagas();
    define(&sagas, DEFINITION).await;
    sagas
        .start("one", "parcel", &json!({}))
        .await
        .expect("started");
    let output = json!({"parcel": 8});
    eventually("the message is sent, and its end taken", async || {
        let reported = sagas
            .report_success("one", "send", Phase::Action, &output)
            .await;
        reported.is_ok()
    })
    .await;
    let ended = sagas
        .wait("one", Duration::from_secs(30))
        .await
        .expect("there");
    assert_eq!(ended.status, Status::Completed, "{ended:?}");
    let again = sagas
        .report_success("one", "send", Phase::Action, &output)
        .await;
    again.expect("the same end again");
}
