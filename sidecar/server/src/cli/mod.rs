//! The command line: one file per command.

mod admin;
mod cluster;
mod migrate;
mod node;
mod saga;
mod serve;
mod sidecar;
mod topics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::bench;

/// Transactional messaging beside your service.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar with its own log store in one process.
    Serve(serve::Arguments),
    /// Run one node of a cluster that keeps the log together.
    Node(node::Arguments),
    /// Run a sidecar that passes everything to a cluster and keeps nothing.
    Sidecar(sidecar::Arguments),
    /// Create Outrigger's tables in an application's database.
    Migrate(migrate::Arguments),
    /// Measure a sidecar.
    Bench(bench::Arguments),
    /// List, create, change and show topics.
    Topics(topics::Topics),
    /// List, create and show consumer groups.
    Groups(admin::Groups),
    /// List, show, decide and resume transactions.
    Transactions(admin::Transactions),
    /// Define and start sagas, and look after them.
    Saga(saga::Arguments),
    /// Show and change the nodes of a cluster.
    Cluster(cluster::Arguments),
    /// Show whether a sidecar is ready, and what it holds.
    Health(admin::Health),
}

/// Runs one command; failures are printed to standard error.
pub fn run(cli: Cli) -> ExitCode {
    init_tracing();
    let result = match cli.command {
        Command::Saga(arguments) => return ended(in_runtime(saga::run(arguments))),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Node(arguments) => node::run(arguments),
        Command::Sidecar(arguments) => sidecar::run(arguments),
        Command::Migrate(arguments) => in_runtime(migrate::run(arguments)),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Topics(arguments) => in_runtime(topics::topics(arguments)),
        Command::Groups(arguments) => in_runtime(admin::groups(arguments)),
        Command::Transactions(arguments) => in_runtime(admin::transactions(arguments)),
        Command::Cluster(arguments) => in_runtime(cluster::run(arguments)),
        Command::Health(arguments) => in_runtime(admin::health(arguments)),
    };
    ended(result.map(|()| ExitCode::SUCCESS))
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// `OUTRIGGER_LOG` takes the filters of `tracing`, as in `info` or `outrigger=debug`.
fn init_tracing() {
    let filter = EnvFilter::try_from_env("OUTRIGGER_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error,fjall=warn,lsm_tree=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn in_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

/// Each cause once: many errors tell their cause themselves.
#[expect(
    clippy::print_stderr,
    reason = "a command line reports its failure to its user"
)]
fn report(error: &anyhow::Error) {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    eprintln!("outrigger: {told}");
}
