//! The shop as the tests run it: its very command line, built together with the tests.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    shop::main()
}
