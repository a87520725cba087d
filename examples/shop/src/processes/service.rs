use std::{net::SocketAddr, path::Path};

use tokio::process::Command;

use super::{Failures, Supervised};
use crate::args::{Mode, ServiceName};

/// How a service is started.
pub(crate) struct Service<'a> {
    pub(crate) name: ServiceName,
    pub(crate) mode: Mode,
    /// Where all services serve HTTP, in the order of their names.
    pub(crate) addresses: &'a [SocketAddr],
    pub(crate) listen: SocketAddr,
    pub(crate) database: &'a str,
    pub(crate) sidecar: &'a str,
    /// In its n-th life it dies as the n-th entry says; when there are no more, it lives on.
    pub(crate) crash_at: &'a [u64],
}

impl Service<'_> {
    pub(crate) fn start(self, directory: &Path, failures: &Failures) -> anyhow::Result<Supervised> {
        let program = std::env::current_exe()?;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let (name, mode, listen) = (self.name, self.mode, self.listen);
        let (database, sidecar) = (self.database.to_owned(), self.sidecar.to_owned());
        let crash_at = self.crash_at.to_vec();
        let start = move |life: usize| {
            let mut command = Command::new(&program);
            command
                .args(["service", name.as_str()])
                .args(["--mode", mode.as_str()])
                .args(["--listen", &listen.to_string()])
                .args(["--database", &database])
                .args(["--sidecar", &sidecar])
                .args(["--participants", &addresses.join(",")]);
            if let Some(at) = crash_at.get(life) {
                command.args(["--crash-at", &at.to_string()]);
            }
            command
        };
        Ok(Supervised::start(name.as_str(), directory, failures, start))
    }
}
