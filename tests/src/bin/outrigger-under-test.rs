//! The sidecar as the tests run it: the very command line of `outrigger`, built together
//! with the tests.

use std::process::ExitCode;

use clap::Parser as _;
use outrigger::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
