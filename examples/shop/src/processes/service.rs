use std::{net::SocketAddr, path::Path};

use tokio::process::Command;

use super::{Failures, Supervised};
use crate::args::ServiceName;

/// Starts one of the services. In its n-th life it dies as the n-th entry of `crash_at`
/// says; when there are no more, it lives on.
pub(crate) fn service(
    name: ServiceName,
    listen: SocketAddr,
    database: &str,
    sidecar: &str,
    crash_at: Vec<u64>,
    directory: &Path,
    failures: &Failures,
) -> anyhow::Result<Supervised> {
    let program = std::env::current_exe()?;
    let database = database.to_owned();
    let sidecar = sidecar.to_owned();
    Ok(Supervised::start(
        name.as_str(),
        directory,
        failures,
        move |life| {
            let mut command = Command::new(&program);
            command
                .args(["service", name.as_str()])
                .args(["--listen", &listen.to_string()])
                .args(["--database", &database])
                .args(["--sidecar", &sidecar]);
            if let Some(at) = crash_at.get(life) {
                command.args(["--crash-at", &at.to_string()]);
            }
            command
        },
    ))
}
