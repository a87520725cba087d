//! A cluster of real nodes that is broken and healed under load. Short; the program `chaos`
//! does it for as long as one likes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

use std::path::PathBuf;

use outrigger_tests::{
    chaos::{
        options::{FaultKind, Options},
        run::{Summary, run},
    },
    checker::Violation,
};
use tokio::sync::Mutex;

fn options(directory: PathBuf, faults: &[FaultKind]) -> Options {
    Options {
        program: env!("CARGO_BIN_EXE_outrigger-under-test").into(),
        nodes: 3,
        groups: 1,
        rounds: u32::try_from(faults.len()).expect("few"),
        seed: 11,
        faults: faults.to_vec(),
        directory,
        disks_lie: false,
        environment: Vec::new(),
    }
}

/// One cluster at a time: several would take each other the time in which to be elected.
static TURN: Mutex<()> = Mutex::const_new(());

async fn run_with(change: impl FnOnce(&mut Options), faults: &[FaultKind]) -> Summary {
    let _turn = TURN.lock().await;
    let parent = tempfile::tempdir().expect("a directory");
    let mut options = options(parent.path().join("chaos"), faults);
    change(&mut options);
    let summary = run(&options).await.expect("the cluster forms");
    println!("{}", serde_json::to_string(&summary).expect("JSON"));
    if !summary.is_clean() && !options.disks_lie {
        println!("kept in {}", parent.keep().display());
    }
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost() {
    let faults = [FaultKind::Kill, FaultKind::Power, FaultKind::Bitflip];
    let summary = run_with(|_| {}, &faults).await;
    assert!(summary.is_clean(), "{summary:#?}");
    assert!(summary.acknowledged > 100, "{summary:#?}");
    assert!(summary.acks > 100, "{summary:#?}");
}

/// Transactions carry messages for topics of several data groups, and leaders of each die.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_data_groups() {
    let faults = [FaultKind::Kill, FaultKind::Power];
    let summary = run_with(|options| options.groups = 3, &faults).await;
    assert!(summary.is_clean(), "{summary:#?}");
    assert!(summary.acknowledged > 100, "{summary:#?}");
    assert!(summary.acks > 100, "{summary:#?}");
}

/// An acknowledgement before the sync, as far as a disk can tell: when all nodes lose their
/// power, what they acknowledged is gone. Either that is seen, or the nodes find themselves that
/// their logs are not whole, and serve nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_lie_are_found_out() {
    let summary = run_with(|options| options.disks_lie = true, &[FaultKind::Power]).await;
    let lost = summary.violations.get(&Violation::Lost).copied();
    let damaged = summary
        .stuck
        .iter()
        .any(|problem| problem.contains("being repaired"));
    assert!(lost > Some(0) || damaged, "{summary:#?}");
}
