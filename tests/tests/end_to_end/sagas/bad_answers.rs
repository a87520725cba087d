//! Participants that answer with nonsense, too much, or never.

use std::time::Duration;

use outrigger_sdk::saga::Status;
use outrigger_tests::participant::{Answer, Participant};
use serde_json::json;

use super::shop::define;
use crate::harness::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_tried_as_often_as_allowed_and_undone() {
    let bench = Bench::start();
    let participant = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    let (go, back) = (participant.url("go"), participant.url("back"));
    let retry = "{ base_ms: 1, cap_ms: 5, attempts_max: 3, classes: { ongoing: { base_ms: 1, cap_ms: 5, attempts_max: 4 } } }";
    define(
        &sagas,
        &format!(
            "name: way\npayload_bytes_max: 1000000\nsteps:\n  - name: go\n    action: {{ http: \"{go}\", timeout_ms: 100, retry: {retry} }}\n    undo: {{ http: \"{back}\" }}\n"
        ),
    )
    .await;
    let garbage = vec![0xff; 4_000].into();
    let five_megabytes = vec![b'x'; 5_000_000].into();
    for (name, answer, attempts) in [
        ("teapot", Answer::With(418, garbage), 3),
        ("ongoing", Answer::With(425, "not yet".into()), 4),
        ("accepted", Answer::With(202, "".into()), 4),
        ("redirect", Answer::With(302, "".into()), 3),
        ("never", Answer::Never, 3),
        ("large", Answer::With(200, five_megabytes), 3),
    ] {
        participant.answer("go", answer);
        let ended = sagas
            .start(name, "way", &json!({}))
            .wait(Duration::from_secs(30))
            .await
            .expect("started");
        assert_eq!(ended.status, Status::Undone, "{name}: {ended:?}");
        assert!(
            ended.undo_cause.contains("go"),
            "{name}: {}",
            ended.undo_cause
        );
        let calls = participant.calls("go");
        let calls: Vec<_> = calls.iter().filter(|call| call.saga == name).collect();
        assert_eq!(calls.len(), attempts, "{name}: {}", ended.undo_cause);
        // All attempts are one, and what may have been done is undone.
        assert!(
            calls
                .iter()
                .all(|call| call.key == format!("{name}/go/action"))
        );
        let undone = participant.calls("back");
        let undone = undone.iter().filter(|call| call.saga == name).count();
        assert_eq!(undone, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_be_carried_out_is_refused() {
    let bench = Bench::start();
    let participant = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    let go = participant.url("go");
    define(
        &sagas,
        &format!(
            "name: way\npayload_bytes_max: 1000\nsteps:\n  - name: go\n    action: {{ http: \"{go}\" }}\n    nothing_to_undo: true\n"
        ),
    )
    .await;
    let large = "x".repeat(1_000);
    let error = sagas
        .start("large", "way", &large)
        .await
        .expect_err("too large");
    let told = error.to_string();
    assert!(
        told.contains("input") && told.contains("1000") && told.contains("1002"),
        "{told}"
    );
    let error = sagas
        .start("x", "nobody", &json!({}))
        .await
        .expect_err("unknown");
    assert!(
        matches!(error, outrigger_sdk::saga::Error::DefinitionNotFound(_)),
        "{error}"
    );
    let version = "0".repeat(32);
    let start = sagas.start("x", "way", &json!({})).version(&version);
    let error = start.await.expect_err("unknown version");
    assert!(error.to_string().contains(&version), "{error}");
    let error = sagas.get("nobody").await.expect_err("unknown");
    assert!(
        matches!(error, outrigger_sdk::saga::Error::NotFound(_)),
        "{error}"
    );
    assert!(participant.calls("go").is_empty());
}
