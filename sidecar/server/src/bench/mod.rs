//! `outrigger bench`: what a message costs, measured from a client's side.
//!
//! Each run starts a sidecar of its own in a temporary directory (or uses a running one),
//! loads it through the SDK, and prints throughput, latency, CPU and memory next to what a
//! bare `fdatasync` costs on the same disk in the same run.

mod disk;
mod load;
mod report;
mod scenario;
mod sidecar;
mod usage;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Durability;

/// Arguments of `outrigger bench`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What is measured
    #[arg(value_enum)]
    scenario: Scenario,
    /// How long the load lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Operations in flight
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    concurrency: u32,
    /// Bytes of each message's body
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    size: u32,
    /// When plain sends are answered [default: as the topic says, which is synced]
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Print one JSON object for each scenario
    #[arg(long)]
    json: bool,
    /// A running sidecar, as in http://127.0.0.1:7070; otherwise one is started
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Where the sidecar's data and the disk probe go [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Half-message transactions: Prepare, then Resolve, both durable
    Half,
    /// Plain messages
    Publish,
    /// Deliveries, each acknowledged durably
    Consume,
}

/// Runs one scenario and prints what it cost.
///
/// # Errors
///
/// When the sidecar cannot be started or reached, or nothing was acknowledged.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let reports = runtime.block_on(measure(&arguments))?;
    for report in &reports {
        report.print(arguments.json)?;
    }
    anyhow::ensure!(
        reports.iter().all(|report| report.acknowledged > 0),
        "nothing was acknowledged"
    );
    Ok(())
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<report::Report>> {
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    let probe = directory.clone();
    let fdatasync_p50_us =
        tokio::task::spawn_blocking(move || disk::fdatasync_p50_us(&probe)).await??;
    let sidecar = match &arguments.server {
        Some(server) => sidecar::Sidecar::running(server.clone()),
        None => sidecar::Sidecar::start(&directory.join("data")).await?,
    };
    let mut reports = scenario::run(arguments, &sidecar).await?;
    for report in &mut reports {
        report.fdatasync_p50_us = fdatasync_p50_us;
    }
    sidecar.stop().await;
    Ok(reports)
}
