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

#[test]
fn orders_by_messages_reconcile() -> anyhow::Result<()> {
    let report = shop(&["--orders", "300", "--seed", "3"])?;
    assert_eq!(number(&report, "orders_placed"), 300);
    Ok(())
}
