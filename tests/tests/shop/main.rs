//! The shop: in the end all books agree to the unit, whatever was killed meanwhile.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends with a panic"
)]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use outrigger_tests::servers::fresh_database;
use serde_json::Value;

/// What a run prints; an error when its books disagree.
fn shop(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_shop-under-test"))
        .args(["--json", "--outrigger"])
        .arg(Path::new(env!("CARGO_BIN_EXE_outrigger-under-test")))
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{report}{words}");
    let lines: Vec<&str> = report.lines().collect();
    let [line] = lines.as_slice() else {
        anyhow::bail!("not one line: {report}");
    };
    serde_json::from_str(line).context(report.clone())
}

fn number(report: &Value, field: &str) -> u64 {
    let number = report[field].as_u64();
    number.unwrap_or_else(|| panic!("no {field} in {report}"))
}

/// Some orders succeed and some are refused, and what was done for those is undone.
fn expect_both_ends(report: &Value) {
    for field in ["orders_committed", "orders_refused", "effects_undone"] {
        assert!(number(report, field) > 0, "{report}");
    }
}

#[test]
fn orders_by_messages_reconcile() -> anyhow::Result<()> {
    let report = shop(&["--orders", "300", "--seed", "3"])?;
    assert_eq!(number(&report, "orders_placed"), 300);
    Ok(())
}

#[test]
fn orders_as_sagas_reconcile() -> anyhow::Result<()> {
    let report = shop(&["--mode", "saga", "--orders", "300", "--seed", "4"])?;
    expect_both_ends(&report);
    assert_eq!(number(&report, "kills"), 0);
    Ok(())
}

#[tokio::test]
async fn orders_in_tcc_reconcile_on_postgres() -> anyhow::Result<()> {
    let url = fresh_database().await?;
    let database = ["--database", "postgres", "--postgres-url", &url];
    let mut arguments = vec!["--mode", "tcc", "--orders", "300", "--seed", "5"];
    arguments.extend(database);
    expect_both_ends(&shop(&arguments)?);
    Ok(())
}

#[test]
fn orders_as_sagas_reconcile_when_everything_is_killed() -> anyhow::Result<()> {
    let report = shop(&[
        "--mode", "saga", "--orders", "400", "--seed", "6", "--chaos",
    ])?;
    expect_both_ends(&report);
    assert!(number(&report, "kills") > 10, "{report}");
    Ok(())
}

#[test]
fn orders_in_tcc_reconcile_when_everything_of_a_cluster_is_killed() -> anyhow::Result<()> {
    let report = shop(&[
        "--mode",
        "tcc",
        "--orders",
        "400",
        "--seed",
        "7",
        "--chaos",
        "--cluster",
        "3",
        "--groups",
        "2",
    ])?;
    expect_both_ends(&report);
    assert!(number(&report, "kills") > 15, "{report}");
    Ok(())
}
