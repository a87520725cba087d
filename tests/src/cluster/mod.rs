//! A real cluster: node processes on loopback, which tests start, kill and start again.

mod asking;
mod port;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

pub use crate::waiting::PATIENCE;
pub use port::{free_port, get};

use crate::{sidecar::program, waiting::POLL};

/// How long one question to a node may take.
const CALL: Duration = Duration::from_secs(5);

/// Nodes of a cluster, and such as want to become one; killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<u64, Node>,
    peers: String,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    child: Option<Child>,
    edge: String,
    peer: String,
    http: String,
}

impl Cluster {
    /// Starts nodes 1 to `count` and waits until they are a cluster with a leader.
    ///
    /// # Errors
    ///
    /// With what the nodes printed, when they do not become one.
    pub async fn start(count: u64) -> anyhow::Result<Self> {
        Self::start_with(count, "").await
    }

    /// The same with settings for all of them.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub async fn start_with(count: u64, toml: &str) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(count, toml)?;
        for id in 1..=count {
            cluster.spawn(id)?;
        }
        cluster.leader().await?;
        for id in 1..=count {
            cluster.ready(id).await?;
        }
        Ok(cluster)
    }

    /// Ports and directories for nodes 1 to `count`, which are all peers; no process yet.
    ///
    /// # Errors
    ///
    /// When there is no room for them.
    pub fn prepare(count: u64, toml: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = match toml.is_empty() {
            true => None,
            false => {
                let path = directory.path().join("node.toml");
                fs::write(&path, toml)?;
                Some(path)
            }
        };
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            peers: String::new(),
            config,
            environment: Vec::new(),
            directory,
        };
        for id in 1..=count {
            cluster.make(id)?;
        }
        let peers = cluster.nodes.iter();
        let peers: Vec<_> = peers
            .map(|(id, node)| format!("{id}={}", node.peer))
            .collect();
        cluster.peers = peers.join(",");
        Ok(cluster)
    }

    /// Sets an environment variable of the nodes that are started from now on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes such a variable back.
    pub fn unset_env(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Ports and a directory for one more node that the others do not know; no process yet.
    ///
    /// # Errors
    ///
    /// When there are no free ports.
    pub fn make(&mut self, id: u64) -> anyhow::Result<()> {
        let node = Node {
            child: None,
            edge: free_port()?,
            peer: free_port()?,
            http: free_port()?,
        };
        self.nodes.insert(id, node);
        Ok(())
    }

    /// All nodes, running or not.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The peers that every node is started with.
    pub fn peers(&self) -> &str {
        &self.peers
    }

    /// Makes the nodes that are started from now on look for other peers.
    pub fn set_peers(&mut self, peers: &str) {
        peers.clone_into(&mut self.peers);
    }

    /// The URI of a node's gRPC port.
    pub fn uri(&self, id: u64) -> String {
        format!("http://{}", self.node(id).edge)
    }

    /// Host and port of a node's gRPC port.
    pub fn edge(&self, id: u64) -> &str {
        &self.node(id).edge
    }

    /// Host and port of a node's peer port.
    pub fn peer(&self, id: u64) -> &str {
        &self.node(id).peer
    }

    /// Host and port of a node's HTTP port.
    pub fn http(&self, id: u64) -> &str {
        &self.node(id).http
    }

    /// A node's data directory.
    pub fn data(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("data-{id}"))
    }

    /// Everything that a node has printed.
    pub fn output(&self, id: u64) -> String {
        fs::read_to_string(self.output_path(id)).unwrap_or_default()
    }

    fn output_path(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("output-{id}"))
    }

    #[expect(clippy::expect_used, reason = "a test names the nodes that it made")]
    fn node(&self, id: u64) -> &Node {
        self.nodes.get(&id).expect("a node that was made")
    }

    #[expect(clippy::expect_used, reason = "a test names the nodes that it made")]
    fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node that was made")
    }

    /// Starts the process of a node, and waits for nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(&mut self, id: u64) -> anyhow::Result<()> {
        self.spawn_as(id, id)
    }

    /// Starts the process of a node with the number of another one.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_as(&mut self, id: u64, number: u64) -> anyhow::Result<()> {
        let mut output = File::options();
        let output = output
            .create(true)
            .append(true)
            .open(self.output_path(id))?;
        let node = self.node(id);
        let mut command = Command::new(program()?);
        command
            .args(["node", "--id", &number.to_string(), "--peers", &self.peers])
            .arg("--data")
            .arg(self.data(id))
            .args(["--listen", &node.edge, "--peer-listen", &node.peer])
            .args(["--http", &node.http]);
        if !self.peers.contains(&format!("{number}=")) {
            command.args(["--peer-advertise", &node.peer]);
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let environment = self.environment.iter();
        command
            .envs(environment.map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        self.node_mut(id).child = Some(command.spawn()?);
        Ok(())
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// With what it printed, when it does not become ready.
    pub async fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        self.spawn(id)?;
        self.ready(id).await
    }

    /// kill -9, and wait until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill(&mut self, id: u64) -> anyhow::Result<()> {
        if let Some(mut child) = self.node_mut(id).child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        let child = self.node(id).child.as_ref().context("it runs")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id")?, signal)?)
    }

    /// SIGTERM, and wait until it has ended.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub async fn stop(&mut self, id: u64) -> anyhow::Result<ExitStatus> {
        self.signal(id, Signal::TERM)?;
        self.ended(id).await
    }

    /// Kills a node and starts it again on the same ports and data.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start_node`].
    pub async fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        self.kill(id)?;
        self.start_node(id).await
    }

    /// Waits until a process has ended by itself.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn ended(&mut self, id: u64) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.node_mut(id).child.as_mut().context("it was started")?;
            if let Some(status) = child.try_wait()? {
                self.node_mut(id).child = None;
                return Ok(status);
            }
            let printed = || self.output(id);
            anyhow::ensure!(Instant::now() < deadline, "it still runs:\n{}", printed());
            sleep(POLL).await;
        }
    }

    /// Waits until a node is ready.
    ///
    /// # Errors
    ///
    /// With what it printed, when it does not become ready.
    pub async fn ready(&mut self, id: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let why = match self.readiness(id).await {
                Ok((true, _)) => return Ok(()),
                Ok((false, why)) => why,
                Err(error) => error.to_string(),
            };
            let child = self.node_mut(id).child.as_mut().context("it was started")?;
            let has_ended = child.try_wait()?.is_some();
            if has_ended || Instant::now() >= deadline {
                anyhow::bail!("node {id} is not ready ({why}):\n{}", self.output(id));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a node has printed something.
    ///
    /// # Errors
    ///
    /// With what it printed instead.
    pub async fn printed(&self, id: u64, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.output(id).contains(text) {
            let printed = || self.output(id);
            anyhow::ensure!(Instant::now() < deadline, "no {text:?} in:\n{}", printed());
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Runs a command of `outrigger` against one node: whether it went well, and what it printed.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or does not end.
    pub async fn command(&self, id: u64, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
        let mut command = tokio::process::Command::new(program()?);
        command
            .args(arguments)
            .args(["--server", &self.uri(id)])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await??;
        let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed += &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), printed))
    }

    /// Deletes a stopped node's data.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn wipe(&self, id: u64) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(self.data(id))?)
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.ids() {
            let _ = self.kill(id);
        }
        // For a person who looks at a failure.
        if std::thread::panicking() {
            for id in self.ids() {
                let output = self.output(id);
                let _ = writeln!(std::io::stderr(), "node {id}:\n{output}");
            }
        }
    }
}
