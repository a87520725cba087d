//! The child processes: sidecars, the nodes of a cluster, and the services.

mod cluster;
mod service;
mod sidecar;
mod supervised;

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

pub(crate) use cluster::Cluster;
pub(crate) use service::Service;
pub(crate) use sidecar::{Sidecar, find_or_build};
pub(crate) use supervised::{Failures, Supervised, failures};

/// Settings of the sidecar's program, as environment variables.
pub(crate) type Environment = Vec<(&'static str, String)>;

/// A port of the loopback that is free now, for a process that is started next.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let id = child.id().context("the process has ended")?;
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(pid.context("the process has an impossible id")?, signal)?;
    Ok(())
}
