//! A sidecar without a log of its own, in front of all nodes.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

use super::{network::Network, node::free_port};

/// Stands for the sidecar among the nodes, whose numbers begin at 1.
pub const SIDECAR: u64 = 0;

/// The process of a sidecar; killed when it is dropped.
#[derive(Debug)]
pub struct Sidecar {
    program: PathBuf,
    directory: PathBuf,
    nodes: String,
    edge: String,
    http: String,
    child: Option<Child>,
}

impl Sidecar {
    /// Ports; no process yet. `nodes` are the addresses where nodes serve applications.
    ///
    /// # Errors
    ///
    /// When there are no ports.
    pub fn new(program: PathBuf, directory: PathBuf, nodes: &[String]) -> anyhow::Result<Self> {
        Ok(Self {
            program,
            directory,
            nodes: nodes.join(","),
            edge: free_port()?,
            http: free_port()?,
            child: None,
        })
    }

    /// Where applications connect, as a URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.edge)
    }

    /// Starts the process, unless it runs; true when it did not.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        &mut self,
        environment: &[(String, String)],
        network: &Network,
    ) -> anyhow::Result<bool> {
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(false);
        }
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("sidecar-output"))?;
        let child = Command::new(&self.program)
            .args(["sidecar", "--log", &self.nodes])
            .args(["--listen", &self.edge, "--http", &self.http])
            .arg("--config")
            .arg(self.directory.join("sidecar.toml"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting a sidecar")?;
        network.set_process(SIDECAR, child.id());
        self.child = Some(child);
        Ok(true)
    }

    /// kill -9, and wait.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
    }
}
