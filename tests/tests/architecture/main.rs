//! Which crate may know which: the arrows of ARCHITECTURE.md, kept over `cargo metadata`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic, and what it measured is for whoever reads its output"
)]

use std::{collections::BTreeMap, process::Command};

/// Every crate of the workspace, and the other crates of the workspace that it may use.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("base2histogram", &[]),
    ("outrigger-core", &[]),
    ("outrigger-proto", &[]),
    ("outrigger-log", &["outrigger-core"]),
    ("outrigger-sdk", &["outrigger-proto"]),
    (
        "outrigger",
        &[
            "outrigger-core",
            "outrigger-log",
            "outrigger-proto",
            "outrigger-sdk",
        ],
    ),
    ("shop", &["outrigger-sdk"]),
    (
        "outrigger-tests",
        &[
            "outrigger",
            "outrigger-core",
            "outrigger-log",
            "outrigger-proto",
            "outrigger-sdk",
            "shop",
        ],
    ),
];

#[test]
fn crates_know_only_what_they_may() {
    let used = workspace_dependencies();
    let allowed = BTreeMap::from(ALLOWED);
    for (name, dependencies) in &used {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| {
            panic!("crate {name} has no line in ALLOWED: decide what it may use")
        });
        for dependency in dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}; allowed: {allowed:?}"
            );
        }
    }
    for (name, _) in ALLOWED {
        assert!(
            used.contains_key(name),
            "ALLOWED names {name}, which the workspace does not have"
        );
    }
}

fn workspace_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            // Only dependencies inside the workspace have a path.
            let own = dependencies
                .iter()
                .filter(|dependency| dependency["path"].is_string());
            (
                text(&package["name"]),
                own.map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a string").to_owned()
}
