//! A sync that fails ends the process at once: nobody can say what is on disk, and only a fresh
//! start, which reads what is really there, may go on.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::crash::{count, options, runtime, send, topic};
use crate::wal::tests::faulty::FaultyDisk;
use crate::{Log, SubmitError};

/// In the child: where the data is.
const CHILD: &str = "OUTRIGGER_SYNC_CHILD";
const SIGABRT: i32 = 6;
const GOOD_BATCHES: u64 = 20;
const BATCH: u64 = 5;
/// How long the child may go on with a broken disk.
const LIVES_MS_MAX: u64 = 10_000;

/// What the child does: writes, says what was acknowledged, and goes on when the disk breaks.
async fn write_until_a_sync_fails(directory: &Path) {
    let disk = FaultyDisk::default();
    let log = Log::open_on(options(directory), Arc::new(disk.clone()))
        .await
        .unwrap();
    let topic = topic(&log).await;
    let mut number = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(LIVES_MS_MAX) {
        if number >= GOOD_BATCHES * BATCH {
            // Also where the sync of a segment that is being prepared has taken the fault.
            disk.fail_next_sync.store(true, Ordering::SeqCst);
        }
        let commands = (number..number + BATCH).map(|number| send(topic, 0, number));
        match log.submit(commands.collect()) {
            Ok(pending) => drop(pending.await.unwrap()),
            Err(SubmitError::Overloaded { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
        number += BATCH;
        println!("acknowledged {number}");
    }
}

#[test]
fn a_failed_sync_aborts_the_process_and_loses_nothing_acknowledged() {
    if let Some(directory) = std::env::var_os(CHILD) {
        runtime().block_on(write_until_a_sync_fails(Path::new(&directory)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let child = Process::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash_sync::a_failed_sync_aborts_the_process_and_loses_nothing_acknowledged",
            "--nocapture",
        ])
        .env(CHILD, directory.path())
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(SIGABRT), "{:?}", child.status);
    let said = String::from_utf8(child.stdout).unwrap();
    let acknowledged = said
        .lines()
        .filter_map(|line| line.strip_prefix("acknowledged "))
        .filter_map(|number| number.parse().ok())
        .max();
    let acknowledged: u64 = acknowledged.unwrap();
    assert!(acknowledged >= GOOD_BATCHES * BATCH, "{said}");
    runtime().block_on(async {
        let log = Log::open(options(directory.path())).await.unwrap();
        let topic = topic(&log).await;
        let found = count(&log, topic).get(&0).copied().unwrap_or(0);
        assert!(found >= acknowledged, "{found} of {acknowledged}");
        log.shutdown().await;
    });
}
