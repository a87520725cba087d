//! Starts a cluster, breaks it in every way, and says whether any promise was broken.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use outrigger_core::limits::DATA_GROUPS_COUNT_MAX;
use outrigger_tests::chaos::{
    options::{FaultKind, Options},
    run::{Summary, run},
};

/// Breaks a cluster of real nodes under load and compares what applications were told with
/// what the replicas have.
#[derive(Debug, Parser)]
struct Arguments {
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Data groups of the cluster, each with a leader of its own
    #[arg(long, default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(DATA_GROUPS_COUNT_MAX)))]
    groups: u32,
    /// How often something is broken and healed
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Chooses the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// From which faults to choose: kill, pause, partition, power, disk-full, bitflip,
    /// membership
    #[arg(long, value_delimiter = ',', default_values_t = FaultKind::ALL)]
    faults: Vec<FaultKind>,
    /// All disks pretend to sync: the run has to find lost messages
    #[arg(long)]
    disks_lie: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The nodes' program [default: outrigger-under-test, beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where everything is kept; removed when no promise was broken [default: a new directory
    /// in that for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let beside = std::env::current_exe()?.with_file_name("outrigger-under-test");
    let directory = match arguments.directory {
        Some(directory) => directory,
        None => tempfile::Builder::new()
            .prefix("outrigger-chaos-")
            .tempdir()?
            .keep(),
    };
    let options = Options {
        program: arguments.program.unwrap_or(beside),
        nodes: arguments.nodes,
        groups: arguments.groups,
        rounds: arguments.rounds,
        seed: arguments.seed,
        faults: arguments.faults,
        directory,
        disks_lie: arguments.disks_lie,
        environment: Vec::new(),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let summary = runtime
        .block_on(run(&options))
        .with_context(|| format!("see {}", options.directory.display()))?;
    print(&summary, arguments.json)?;
    Ok(match summary.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match json {
        true => serde_json::to_string(summary)?,
        false => serde_json::to_string_pretty(summary)?,
    };
    Ok(writeln!(out, "{text}")?)
}
