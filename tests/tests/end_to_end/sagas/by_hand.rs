//! What a person sees and does, with the command line.

use std::process::{Command, Output};

use outrigger_tests::participant::{Answer, Participant};
use serde_json::{Value, json};

use crate::harness::{Bench, eventually};

struct Cli<'a> {
    bench: &'a Bench,
}

impl Cli<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger-under-test"));
        command.arg("saga").args(arguments);
        command
            .args(["--server", &self.bench.sidecar.uri()])
            .env("USER", "ann");
        command.output().expect("it runs")
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {wrong}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.said(&arguments)).expect("JSON")
    }

    fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.run(arguments).status.code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_saga_is_seen_and_brought_to_its_end_by_hand() {
    let bench = Bench::start();
    let cli = Cli { bench: &bench };
    let participant = Participant::start().await.expect("a port");
    let (reserve, release) = (participant.url("reserve"), participant.url("release"));
    let charge = participant.url("charge");
    let file = bench.sidecar.data().with_extension("yaml");
    let definition = format!(
        "name: order\nsteps:\n  - name: reserve\n    action: {{ http: \"{reserve}\" }}\n    undo: {{ http: \"{release}\" }}\n  - name: charge\n    depends_on: [reserve]\n    action: {{ http: \"{charge}\" }}\n    nothing_to_undo: true\n"
    );
    std::fs::write(&file, &definition).expect("a file");
    let file = file.to_str().expect("a path");
    assert!(cli.said(&["define", file]).starts_with("order\t"));
    assert!(cli.said(&["define", file]).contains("was there already"));
    assert_eq!(cli.json(&["definitions"])[0]["steps"][1]["name"], "charge");

    // The undo is refused, for which there is nothing but a person.
    participant.answer("charge", Answer::Refused("no money"));
    participant.answer("release", Answer::Refused("the shelf is locked"));
    let started = cli.json(&[
        "start",
        "order",
        "--id",
        "order-1",
        "--input",
        r#"{"order":1}"#,
    ]);
    assert_eq!(started["status"], "running");
    assert_eq!(cli.code(&["wait", "order-1"]), Some(3), "parked");
    let stuck = cli.json(&["list", "--stuck"]);
    assert_eq!(stuck["sagas"][0]["saga_id"], "order-1");
    assert_eq!(stuck["sagas"][0]["stuck_steps"], json!(["reserve"]));
    assert!(
        cli.said(&["list", "--status", "parked"])
            .contains("stuck: reserve")
    );
    let shown = cli.said(&["show", "order-1"]);
    assert!(
        shown.contains("the shelf is locked") && shown.contains("no money"),
        "{shown}"
    );

    // A refusal is final for its key; the person who asks again gets another one.
    participant.answer("release", Answer::Done(json!({})));
    let failed = cli.run(&["retry", "order-1", "nobody", "--reason", "unlocked"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("has no step"));
    assert_ne!(cli.code(&["retry", "order-1", "reserve"]), Some(0), "why?");
    cli.said(&[
        "retry",
        "order-1",
        "reserve",
        "--reason",
        "unlocked the shelf",
    ]);
    assert_eq!(cli.code(&["wait", "order-1"]), Some(2), "undone");
    let shown = cli.json(&["show", "order-1"]);
    assert_eq!(shown["saga"]["status"], "undone");
    let history = shown["history"].as_array().expect("a history");
    let by_ann = history.iter().find(|entry| entry["by"] == "ann");
    let by_ann = by_ann.expect("who did it");
    assert_eq!(by_ann["reason"], "unlocked the shelf");
    assert_eq!(by_ann["step"], "reserve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_saga_can_be_edited_skipped_and_resumed() {
    let bench = Bench::start();
    let cli = Cli { bench: &bench };
    let participant = Participant::start().await.expect("a port");
    let (one, two) = (participant.url("one"), participant.url("two"));
    let file = bench.sidecar.data().with_extension("json");
    let step = |name: &str, url: &str, after: Value| {
        json!({
            "name": name, "depends_on": after, "nothing_to_undo": true,
            "action": { "http": url, "retry": { "base_ms": 10, "cap_ms": 50 } },
        })
    };
    let steps = [
        step("one", &one, json!([])),
        step("two", &two, json!(["one"])),
    ];
    std::fs::write(&file, json!({"name": "way", "steps": steps}).to_string()).expect("a file");
    cli.said(&["define", file.to_str().expect("a path")]);
    participant.answer("one", Answer::With(500, "out of order".into()));
    cli.said(&["start", "way", "--id", "w", "--input", "{}"]);
    eventually("it is called", async || participant.calls("one").len() > 2).await;
    assert_eq!(
        cli.json(&["park", "w", "--reason", "look at it"])["parked_by_hand"],
        true
    );
    assert_eq!(cli.code(&["wait", "w"]), Some(3));
    let again = cli.run(&["park", "w", "--reason", "again"]);
    assert_eq!(again.status.code(), Some(1));
    cli.said(&[
        "skip",
        "w",
        "one",
        "--output",
        "{\"by\":\"hand\"}",
        "--reason",
        "done",
    ]);
    cli.said(&[
        "edit",
        "w",
        "two",
        "--input",
        "{\"edited\":true}",
        "--reason",
        "typo",
        "--by",
        "bob",
    ]);
    cli.said(&["resume", "w", "--reason", "go on"]);
    assert_eq!(cli.code(&["wait", "w"]), Some(0), "completed");
    assert_eq!(participant.calls("two")[0].body, "{\"edited\":true}");
    let shown = cli.json(&["show", "w"]);
    assert_eq!(shown["saga"]["output"]["one"], json!({"by": "hand"}));
    let by: Vec<_> = shown["history"]
        .as_array()
        .expect("a history")
        .iter()
        .collect();
    assert!(
        by.iter()
            .any(|entry| entry["by"] == "bob" && entry["reason"] == "typo")
    );
}
