use std::path::PathBuf;

use clap::Args;

use super::serve::in_server_runtime;
use crate::{
    config::{ClusterOverrides, Config, Overrides},
    serve,
};

/// Arguments of `outrigger node`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of this node's log; made when it is missing [default: ./outrigger-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which node this is, from 1
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// The nodes that form the cluster and their peer ports, as in
    /// 1=127.0.0.1:7071,2=127.0.0.1:7171,3=127.0.0.1:7271
    #[arg(long, value_name = "N=ADDR,...")]
    peers: Option<String>,
    /// Data groups, each with a leader of its own, 1 to 64; the node that forms the cluster decides,
    /// and another number is refused [default: what the cluster has, or 1]
    #[arg(long, value_name = "N")]
    groups: Option<u32>,
    /// Where applications connect, gRPC [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where other nodes connect [default: this node's address in --peers]
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// Where health and metrics are served, HTTP [default: 127.0.0.1:7072]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where others reach --listen, when something stands between
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where other nodes reach --peer-listen, when something stands between
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertise: Option<String>,
    /// A TOML file with further settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let cluster = ClusterOverrides {
        id: arguments.id,
        peers: arguments.peers,
        peer_listen: arguments.peer_listen,
        peer_advertise: arguments.peer_advertise,
        advertise: arguments.advertise,
    };
    let overrides = Overrides {
        data: arguments.data,
        groups: arguments.groups,
        listen: arguments.listen,
        http: arguments.http,
        cluster: Some(cluster),
        ..Overrides::default()
    };
    let config = Config::load(arguments.config, &overrides)?;
    config.check_node()?;
    in_server_runtime(serve::serve(config))
}
