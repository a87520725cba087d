//! The shop: an order, a stock and a points service that trust Outrigger with their
//! messages, and a run that proves it.
//!
//! `cargo run --release -p shop` starts a sidecar and the three services as child
//! processes, places orders over HTTP, waits until everything has settled, and compares
//! the three databases: every committed order has exactly one stock deduction and one
//! points credit, every refused order has none. With `--chaos` it kills them meanwhile.
//!
//! With `--mode saga` and `--mode tcc` an order is a saga over four services: stock, points,
//! payments and the order itself.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]

mod args;
mod catalogue;
mod chaos;
mod customers;
mod database;
mod input;
mod messages;
mod postgres;
mod processes;
mod progress;
mod reconcile;
mod run;
mod sagas;
mod services;
mod setup;
mod shop;

use std::process::ExitCode;

use clap::Parser as _;

/// The command line of the shop.
///
/// # Errors
/// When the run cannot be carried out. That the books disagree is no error but the exit code 1.
pub fn main() -> anyhow::Result<ExitCode> {
    let args = args::Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    let runtime = tokio::runtime::Runtime::new()?;
    match args.role {
        Some(args::Role::Service(service)) => {
            runtime.block_on(services::serve(service))?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let reconciled = runtime.block_on(run::run(&args.run))?;
            Ok(if reconciled {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
