//! A real cluster: node processes on loopback, which tests start, kill and start again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use outrigger_proto::cluster::{
    DigestRequest, DigestResponse, StatusRequest, StatusResponse, cluster_client::ClusterClient,
};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::sidecar::program;

/// How long anything may take before a test gives up. Nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question to a node may take.
const CALL: Duration = Duration::from_secs(5);
/// Ports below those that the system gives to outgoing connections, so that a node that is
/// started again finds its own ones free.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
const POLL: Duration = Duration::from_millis(10);

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

    /// Whether a node is ready, and what it says to that.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn readiness(&self, id: u64) -> anyhow::Result<(bool, String)> {
        let answer = get(self.http(id), "/ready").await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        Ok((answer.starts_with("HTTP/1.1 200"), body.trim().to_owned()))
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

    /// What one node says of the cluster.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn status(&self, id: u64) -> anyhow::Result<StatusResponse> {
        let status = async { client(self.edge(id))?.status(StatusRequest {}).await };
        Ok(timeout(CALL, status).await??.into_inner())
    }

    /// What one node has applied of a data group.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn digest(&self, id: u64, data_group: u32) -> anyhow::Result<DigestResponse> {
        let request = DigestRequest { data_group };
        let digest = async { client(self.edge(id))?.digest(request).await };
        Ok(timeout(CALL, digest).await??.into_inner())
    }

    /// Who leads which data group, as far as running nodes say so of themselves.
    pub async fn leads(&self) -> BTreeMap<u32, u64> {
        let mut leads = BTreeMap::new();
        for (id, node) in &self.nodes {
            if node.child.is_none() {
                continue;
            }
            let Ok(status) = self.status(*id).await else {
                continue;
            };
            let led = status.data_groups.iter();
            let led = led.filter(|group| group.leader == *id);
            leads.extend(led.map(|group| (group.data_group, *id)));
        }
        leads
    }

    /// Waits until a node leads, and tells which; it says so itself.
    ///
    /// # Errors
    ///
    /// With what the nodes printed, when none does.
    pub async fn leader(&self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (id, node) in &self.nodes {
                if node.child.is_none() {
                    continue;
                }
                if let Ok(status) = self.status(*id).await
                    && status.leader == *id
                {
                    return Ok(*id);
                }
            }
            if Instant::now() >= deadline {
                let outputs = self.ids().into_iter();
                let outputs: Vec<_> = outputs
                    .map(|id| format!("node {id}:\n{}", self.output(id)))
                    .collect();
                anyhow::bail!("nobody leads\n{}", outputs.join("\n"));
            }
            sleep(POLL).await;
        }
    }

    /// A running node that does not lead.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn follower(&self) -> anyhow::Result<u64> {
        let leader = self.leader().await?;
        let running = self.nodes.iter().filter(|(_, node)| node.child.is_some());
        let mut others = running.map(|(id, _)| *id).filter(|id| *id != leader);
        others.next().context("a node that follows")
    }

    /// Waits until these nodes have applied the same and have the same state, in all data
    /// groups.
    ///
    /// # Errors
    ///
    /// When they do not come to that.
    pub async fn agree(&self, ids: &[u64]) -> anyhow::Result<()> {
        let first = ids.first().context("a node")?;
        let groups = self.status(*first).await?.data_groups.len();
        for group in 0..u32::try_from(groups)? {
            self.agree_in(ids, group).await?;
        }
        Ok(())
    }

    async fn agree_in(&self, ids: &[u64], data_group: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut seen = Vec::new();
            for id in ids {
                seen.push(self.digest(*id, data_group).await);
            }
            let known: Vec<_> = seen.iter().flatten().collect();
            let same = known.windows(2).all(|pair| match pair {
                [a, b] => (a.applied_index, &a.digest) == (b.applied_index, &b.digest),
                _ => true,
            });
            if same && known.len() == ids.len() {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the replicas of data group {data_group} differ: {seen:?}"
            );
            sleep(POLL).await;
        }
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

fn client(edge: &str) -> Result<ClusterClient<Channel>, tonic::Status> {
    let endpoint = Endpoint::from_shared(format!("http://{edge}"));
    let endpoint = endpoint.map_err(|error| tonic::Status::internal(error.to_string()))?;
    Ok(ClusterClient::new(
        endpoint.connect_timeout(CALL).connect_lazy(),
    ))
}

/// The answer of an HTTP port, headers included.
///
/// # Errors
///
/// When there is none.
pub async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    Ok(timeout(CALL, asked).await??)
}

/// A port that nobody listens on, and that no other call in this process gets.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> anyhow::Result<String> {
    const ATTEMPTS_MAX: u32 = 1_000;
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut port = next.unwrap_or_else(|| rand::rng().random_range(PORTS));
    for _ in 0..ATTEMPTS_MAX {
        port = if port + 1 < PORTS.end {
            port + 1
        } else {
            PORTS.start
        };
        *next = Some(port);
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port in {PORTS:?}")
}
