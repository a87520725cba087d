//! The shop's command line.

fn main() -> anyhow::Result<std::process::ExitCode> {
    shop::main()
}
