//! The `outrigger` binary.

use std::process::ExitCode;

use clap::Parser as _;
use outrigger::cli::Cli;

fn main() -> ExitCode {
    outrigger::cli::run(Cli::parse())
}
