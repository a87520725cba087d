//! `outrigger bench`: what a message costs, measured from a client's side.
//!
//! Each run starts a sidecar of its own in a temporary directory (or uses a running one),
//! loads it through the SDK, and prints throughput, latency, CPU and memory next to what a
//! bare `fdatasync` costs on the same disk in the same run.

mod cluster;
mod disk;
mod failover;
mod load;
mod rejoin;
mod report;
mod saga;
mod scenario;
mod served;
mod sidecar;
mod usage;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use outrigger_core::limits::DATA_GROUPS_COUNT_MAX;

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
    /// Start a cluster of so many nodes, all on this machine; the load goes to a leader
    #[arg(long, value_name = "NODES", conflicts_with = "server",
          value_parser = clap::value_parser!(u32).range(1..=9))]
    cluster: Option<u32>,
    /// Data groups of what is started, each with a leader of its own
    #[arg(long, default_value_t = 1, conflicts_with = "server",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(DATA_GROUPS_COUNT_MAX)))]
    groups: u32,
    /// failover: how often the leader is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// rejoin: what is written while the node is away
    #[arg(long, default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// saga: steps of each, one after the other, over HTTP with participants in their own process
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=128))]
    steps: u32,
    /// saga: after the load, kill the sidecar while so many sagas are held at a step, and measure
    /// how fast the next one takes them over and finishes them; one of three participants is dead
    #[arg(long, value_name = "SAGAS", conflicts_with_all = ["server", "cluster"],
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orphans: Option<u32>,
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
    /// How long clients wait when the leader is killed (of 3 nodes unless --cluster says more)
    Failover,
    /// How long a node takes to catch up (of 3 nodes unless --cluster says more)
    Rejoin,
    /// Sagas, each from its start to its end
    Saga,
    /// The participants of sagas; started by bench itself
    #[value(hide = true)]
    Participants,
}

/// Nodes of a cluster that nobody said the size of.
const NODES_DEFAULT: u32 = 3;
/// Senders while leaders are killed; each sends one message after the other.
const FAILOVER_SENDERS_MAX: u32 = 64;

/// Runs one scenario and prints what it cost.
///
/// # Errors
///
/// When the sidecar cannot be started or reached, or nothing was acknowledged.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let (Scenario::Saga, Some(orphans)) = (arguments.scenario, arguments.orphans) {
        let report = runtime.block_on(async {
            let (directory, _temporary) = directory(&arguments)?;
            saga::orphans::run(&arguments, &directory, orphans).await
        })?;
        report.print(arguments.json)?;
        anyhow::ensure!(report.is_good(), "not all sagas completed");
        return Ok(());
    }
    match arguments.scenario {
        Scenario::Participants => runtime.block_on(saga::participants::serve())?,
        Scenario::Half | Scenario::Publish | Scenario::Consume | Scenario::Saga => {
            let reports = runtime.block_on(measure(&arguments))?;
            for report in &reports {
                report.print(arguments.json)?;
            }
            anyhow::ensure!(
                reports.iter().all(|report| report.acknowledged > 0),
                "nothing was acknowledged"
            );
        }
        Scenario::Failover => {
            let report = runtime.block_on(async {
                let (directory, _temporary) = directory(&arguments)?;
                let nodes = arguments.cluster.unwrap_or(NODES_DEFAULT);
                let cluster = cluster::Cluster::start(&directory, nodes, arguments.groups).await?;
                let senders = arguments.concurrency.min(FAILOVER_SENDERS_MAX);
                failover::run(cluster, nodes, arguments.kills as usize, senders).await
            })?;
            report.print(arguments.json)?;
            anyhow::ensure!(report.is_good(), "there were errors, or messages were lost");
        }
        Scenario::Rejoin => {
            let report = runtime.block_on(async {
                let (directory, _temporary) = directory(&arguments)?;
                let nodes = arguments.cluster.unwrap_or(NODES_DEFAULT);
                let cluster = cluster::Cluster::start(&directory, nodes, arguments.groups).await?;
                rejoin::run(cluster, nodes, arguments.bytes).await
            })?;
            report.print(arguments.json)?;
        }
    }
    Ok(())
}

/// The given directory, or a temporary one for as long as the second value lives.
fn directory(arguments: &Arguments) -> anyhow::Result<(PathBuf, tempfile::TempDir)> {
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    Ok((directory, temporary))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<report::Report>> {
    let (directory, _temporary) = directory(arguments)?;
    let probe = directory.clone();
    let fdatasync_p50_us =
        tokio::task::spawn_blocking(move || disk::fdatasync_p50_us(&probe)).await??;
    let mut reports = match (&arguments.server, arguments.cluster) {
        (Some(server), _) => {
            let served = served::Served {
                uri: server.clone(),
                processes: Vec::new(),
                helpers: Vec::new(),
            };
            scenario::run(arguments, &served).await?
        }
        (None, Some(nodes)) => {
            let cluster = cluster::Cluster::start(&directory, nodes, arguments.groups).await?;
            let served = cluster.served().await?;
            let reports = scenario::run(arguments, &served).await?;
            cluster.stop().await;
            reports
        }
        (None, None) => {
            let sidecar =
                sidecar::Sidecar::start(&directory.join("data"), arguments.groups).await?;
            let reports = scenario::run(arguments, &sidecar.served()).await?;
            sidecar.stop().await;
            reports
        }
    };
    for report in &mut reports {
        report.fdatasync_p50_us = fdatasync_p50_us;
    }
    Ok(reports)
}
