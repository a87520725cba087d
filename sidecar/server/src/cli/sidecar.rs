use std::path::PathBuf;

use clap::Args;

use crate::{
    config::{Config, Overrides, SidecarOverrides},
    forward,
};

/// Arguments of `outrigger sidecar`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Nodes of the cluster, where they serve applications; any of them tells who leads
    #[arg(long, value_name = "ADDR,...", value_delimiter = ',')]
    log: Vec<String>,
    /// Where the application connects, gRPC [default: 127.0.0.1:7070]
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
        log,
        listen,
        http,
        config,
    } = arguments;
    let overrides = Overrides {
        listen,
        http,
        sidecar: SidecarOverrides::with_nodes(log),
        ..Overrides::default()
    };
    let config = Config::load(config, &overrides)?;
    config.check_sidecar()?;
    super::serve::in_server_runtime(forward::run_sidecar(config))
}
