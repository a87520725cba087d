//! Starting, stopping, and what is refused at the start.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Child,
    time::Duration,
};

use outrigger_sdk::Message;
use outrigger_tests::sidecar::Settings;
use rustix::process::Signal;

use crate::harness::{Bench, PATIENCE, eventually, read_all};

fn http_status(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_sidecar_ends_well_and_keeps_everything() {
    let mut bench = Bench::start();
    let client = bench.client().await;
    assert!(http_status(bench.sidecar.http(), "/ready").starts_with("HTTP/1.1 200"));
    assert!(http_status(bench.sidecar.http(), "/live").starts_with("HTTP/1.1 200"));
    client
        .producer("p")
        .send(Message::new("kept", "one"))
        .await
        .expect("sent");

    bench.sidecar.signal(Signal::TERM).expect("it runs");
    let status = bench.sidecar.wait(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");

    bench.sidecar.restart().expect("it starts again");
    let kept = read_all(&client, "kept").await;
    assert_eq!(
        kept.into_iter().collect::<Vec<_>>(),
        [("one".to_owned(), 1)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    // A consumer that holds its stream open would keep the drain waiting.
    let mut bench = Bench::start_with_config("drain_ms = 600000\n");
    let client = bench.client().await;
    client
        .producer("p")
        .send(Message::new("held", "one"))
        .await
        .expect("sent");
    let (started, mut is_started) = tokio::sync::mpsc::unbounded_channel();
    let consumer = client
        .consumer("holder")
        .subscribe("held", "*")
        .run(move |_| {
            let _ = started.send(());
            std::future::pending()
        });
    let consumer = tokio::spawn(consumer);
    is_started.recv().await.expect("delivered");
    bench.sidecar.signal(Signal::TERM).expect("it runs");
    eventually("it is not ready any more", async || {
        TcpStream::connect(bench.sidecar.http()).is_err()
            || http_status(bench.sidecar.http(), "/ready").starts_with("HTTP/1.1 503")
    })
    .await;
    let _ = bench.sidecar.signal(Signal::TERM);
    bench.sidecar.wait(PATIENCE).expect("it ends");
    consumer.abort();
}

/// Starts a sidecar that must not come up, and returns what it printed.
fn refusal(settings: &Settings, grpc: &str) -> String {
    let mut child: Child = settings
        .spawn(grpc, "127.0.0.1:0")
        .expect("it can be started");
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if std::time::Instant::now() > deadline {
            child.kill().expect("it can be killed");
            panic!("it came up");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut printed = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut printed)
        .expect("text");
    assert!(!status.success(), "{printed}");
    printed
}

#[test]
fn what_cannot_be_right_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = || Settings::new(directory.path().join("data"));
    let with = |toml: &str| settings().with_config(toml).expect("written");
    let local = "127.0.0.1:0";
    let cases = [
        (refusal(&with("dta = \"/x\"\n"), local), vec!["dta"]),
        (
            refusal(&with("drain_ms = \"soon\"\n"), local),
            vec!["drain_ms", "soon"],
        ),
        (
            refusal(&with("[log]\nsegment_bytes = 5\n"), local),
            vec!["log.segment_bytes", "5"],
        ),
        (
            refusal(
                &with("[check_back]\nfence_retention_ms = 86400000\n"),
                local,
            ),
            vec!["check_back.fence_retention_ms", "86400000", "90000000"],
        ),
        (
            refusal(
                &with("[producer_groups.orders]\ncheck_back = \"table\"\n"),
                local,
            ),
            vec!["producer_groups.orders.database"],
        ),
        (
            refusal(&settings().with_env("OUTRIGGER_DRAIN_MS", "x"), local),
            vec!["drain_ms"],
        ),
        (
            refusal(&settings().with_env("OUTRIGGER_NO_SUCH", "x"), local),
            vec!["no_such"],
        ),
        (
            refusal(&settings(), "0.0.0.0:0"),
            vec!["listen", "0.0.0.0", "loopback"],
        ),
    ];
    for (printed, names) in cases {
        let printed = printed.to_lowercase();
        for name in names {
            assert!(printed.contains(name), "{name} is not named in: {printed}");
        }
    }
}

#[test]
fn a_directory_in_use_is_refused_and_left_alone() {
    let bench = Bench::start();
    let printed = refusal(&Settings::new(bench.sidecar.data()), "127.0.0.1:0");
    assert!(printed.contains("in use"), "{printed}");
    assert!(http_status(bench.sidecar.http(), "/ready").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_damaged_log_is_refused_with_its_place_and_left_alone() {
    let mut bench = Bench::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = bench.client().await;
        let producer = client.producer("p");
        let messages = (0..2_000).map(|n| Message::new("t", format!("{n:0>200}")));
        for receipt in producer.send_all(messages).await {
            receipt.expect("sent");
        }
        for n in 0..20 {
            producer
                .send(Message::new("t", format!("later {n}")))
                .await
                .expect("sent");
        }
    });
    bench.sidecar.kill().expect("it can be killed");
    let (path, before) = damage_a_segment(bench.sidecar.data());
    let printed = refusal(&Settings::new(bench.sidecar.data()), "127.0.0.1:0");
    assert!(
        printed.contains("segment") && printed.contains("damaged at byte"),
        "{printed}"
    );
    assert_eq!(
        fs::read(&path).expect("still there"),
        before,
        "the damaged file was changed"
    );
}

/// Flips one bit in a message of the oldest segment, where much that is intact follows.
fn damage_a_segment(data: &std::path::Path) -> (std::path::PathBuf, Vec<u8>) {
    let mut files = Vec::new();
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    let needle = format!("{:0>200}", 7);
    for path in files {
        let mut bytes = fs::read(&path).expect("readable");
        let found = bytes
            .windows(needle.len())
            .position(|window| window == needle.as_bytes());
        if let Some(at) = found
            && path.components().any(|part| part.as_os_str() == "wal")
        {
            bytes[at + 100] ^= 1;
            fs::write(&path, &bytes).expect("writable");
            return (path, bytes);
        }
    }
    panic!("no segment has the message")
}
