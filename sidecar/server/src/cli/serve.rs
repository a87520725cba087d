use std::path::PathBuf;

use clap::Args;

use crate::{
    config::{Config, Overrides},
    serve,
};

/// Arguments of `outrigger serve`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of the log store; made when it is missing [default: ./outrigger-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Data groups, each with a leader of its own, 1 to 64; fixed when the data directory is made
    /// [default: what it was made with, or 1]
    #[arg(long, value_name = "N")]
    groups: Option<u32>,
    /// Where applications connect, gRPC [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where health and metrics are served, HTTP [default: 127.0.0.1:7072]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// A TOML file with further settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        data,
        groups,
        listen,
        http,
        config,
    } = arguments;
    let config = Config::load(
        config,
        &Overrides {
            data,
            groups,
            listen,
            http,
            ..Overrides::default()
        },
    )?;
    config.check_alone()?;
    in_server_runtime(serve::serve(config))
}

/// Runs a server until it ends.
pub(super) fn in_server_runtime<E>(
    server: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<()>
where
    E: Into<anyhow::Error>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()?;
    runtime.block_on(server).map_err(Into::into)?;
    // Whatever still runs on a blocking thread has had the drain time to end.
    runtime.shutdown_background();
    Ok(())
}

/// The sidecar is a guest in its pod: it takes no more threads than it can use.
fn worker_threads() -> usize {
    const WORKER_THREADS_MAX: usize = 8;
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, WORKER_THREADS_MAX)
}
