use std::time::{Duration, SystemTime};

use outrigger_sdk::saga::Status;
use outrigger_tests::participant::{Answer, Participant};
use serde_json::json;

use super::shop::define;
use crate::harness::Bench;

fn definition(participant: &Participant, deadline_ms: u64) -> String {
    let (go, back) = (participant.url("go"), participant.url("back"));
    format!(
        "name: way\ndeadline_ms: {deadline_ms}\nsteps:\n  - name: go\n    action: {{ http: \"{go}\", retry: {{ base_ms: 10, cap_ms: 50 }} }}\n    undo: {{ http: \"{back}\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_begins_when_it_is_told_to() {
    let bench = Bench::start();
    let participant = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    define(&sagas, &definition(&participant, 60_000)).await;
    let at = SystemTime::now() + Duration::from_millis(1_500);
    let started = sagas.start("later", "way", &json!({})).at(at).await;
    assert_eq!(started.expect("started").status, Status::Running);
    let ended = sagas.wait("later", Duration::from_secs(30)).await;
    assert_eq!(ended.expect("there").status, Status::Completed);
    assert!(SystemTime::now() >= at, "not before its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_takes_too_long_is_undone() {
    let bench = Bench::start();
    let participant = Participant::start().await.expect("a port");
    participant.answer("go", Answer::With(503, "busy".into()));
    let sagas = bench.client().await.sagas();
    define(&sagas, &definition(&participant, 1_000)).await;
    let ended = sagas
        .start("slow", "way", &json!({}))
        .wait(Duration::from_secs(30))
        .await
        .expect("started");
    assert_eq!(ended.status, Status::Undone, "{ended:?}");
    assert!(
        ended.undo_cause.contains("deadline"),
        "{}",
        ended.undo_cause
    );
    assert_eq!(
        participant.effects(),
        ["back"],
        "nobody knows whether it has gone"
    );
}
