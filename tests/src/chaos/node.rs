//! A node: its process, its ports, its disk.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::TcpListener,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use rand::{Rng, seq::IndexedRandom as _};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    network::{Network, Proxy},
    power::{PowerDisk, PowerLibrary},
};

/// Ports below those that the system gives to outgoing connections, so that a restarted node
/// finds its own ones free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A segment of the log ends with so many bytes that are zero until it is full.
const TRAILER_BYTES: usize = 16;
/// A segment of the log begins with so many bytes that are no records.
const HEADER_BYTES: u64 = 64;

/// A node of the cluster.
#[derive(Debug)]
pub struct Node {
    /// Its number in the cluster.
    pub id: u64,
    directory: PathBuf,
    edge: String,
    peer: String,
    http: String,
    peer_proxy: Proxy,
    edge_proxy: Proxy,
    disk: PowerDisk,
    child: Option<Child>,
}

/// Where a bit was flipped.
#[derive(Debug)]
pub struct Flipped {
    /// The file.
    pub path: PathBuf,
    /// The byte in it.
    pub offset: u64,
}

impl Node {
    /// Ports, that for applications as it is given, and an empty directory below `parent`; no
    /// process yet.
    ///
    /// # Errors
    ///
    /// When there is no room for them.
    pub async fn new(
        id: u64,
        edge: Option<String>,
        parent: &Path,
        network: &Network,
        library: &PowerLibrary,
    ) -> anyhow::Result<Self> {
        let directory = parent.join(format!("node-{id}"));
        fs::create_dir_all(directory.join("data"))?;
        let edge = edge.map_or_else(free_port, Ok)?;
        let [peer, http] = [free_port()?, free_port()?];
        let disk = library.disk(&directory.join("data"), &directory.join("disk"))?;
        Ok(Self {
            id,
            peer_proxy: network.proxy(id, peer.clone()).await?,
            edge_proxy: network.proxy(id, edge.clone()).await?,
            directory,
            edge,
            peer,
            http,
            disk,
            child: None,
        })
    }

    /// Where applications connect, as a URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.edge)
    }

    /// Where applications connect.
    pub fn edge(&self) -> String {
        self.edge.clone()
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Where its peers connect.
    pub fn peer_address(&self) -> String {
        self.peer_proxy.address()
    }

    /// Its disk.
    pub fn disk(&self) -> &PowerDisk {
        &self.disk
    }

    /// What it has printed since it was made.
    pub fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(
        &mut self,
        program: &Path,
        peers: &str,
        groups: u32,
        environment: &[(String, String)],
        network: &Network,
    ) -> anyhow::Result<()> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output())?;
        let mut command = Command::new(program);
        command
            .arg("node")
            .arg("--data")
            .arg(self.directory.join("data"))
            .args(["--id", &self.id.to_string(), "--peers", peers])
            .args(["--groups", &groups.to_string()])
            .args(["--listen", &self.edge, "--peer-listen", &self.peer])
            .args(["--http", &self.http])
            .args(["--advertise", &self.edge_proxy.address()])
            .args(["--peer-advertise", &self.peer_proxy.address()])
            .arg("--config")
            .arg(self.directory.with_file_name("node.toml"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        self.disk.load(&mut command);
        let child = command.spawn().context("starting a node")?;
        network.set_process(self.id, child.id());
        self.child = Some(child);
        Ok(())
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Sends a signal; to a process that is gone, too.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref();
        let pid = child.and_then(|child| i32::try_from(child.id()).ok().and_then(Pid::from_raw));
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until a killed process is gone.
    pub fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// kill -9, and wait.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Flips a bit in the log of the stopped node where a start has to notice: in the seal of
    /// a full segment, or in the older half of the segment that is being written. None when
    /// too little has been written.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written.
    pub fn flip_bit(&self, random: &mut impl Rng) -> anyhow::Result<Option<Flipped>> {
        let mut places = Vec::new();
        for entry in fs::read_dir(self.directory.join("data").join("wal"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wal") {
                places.extend(flippable(&path, random)?.map(|offset| Flipped { path, offset }));
            }
        }
        let Some(place) = places.choose(random) else {
            return Ok(None);
        };
        let file = File::options().read(true).write(true).open(&place.path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place.offset)?;
        let flipped = byte.map(|byte| byte ^ 1 << random.random_range(0..8));
        file.write_all_at(&flipped, place.offset)?;
        file.sync_all()?;
        Ok(Some(Flipped {
            path: place.path.clone(),
            offset: place.offset,
        }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An offset in a segment where a flipped bit is noticed at the next start.
fn flippable(path: &Path, random: &mut impl Rng) -> anyhow::Result<Option<u64>> {
    const BEHIND_MIN_BYTES: u64 = 64 << 10;
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let length = file.seek(SeekFrom::End(0))?;
    let trailer = bytes.split_off(bytes.len().saturating_sub(TRAILER_BYTES));
    if trailer.iter().any(|byte| *byte != 0) {
        let at = random.random_range(0..TRAILER_BYTES as u64);
        return Ok(Some(length - TRAILER_BYTES as u64 + at));
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    if used < HEADER_BYTES + 2 * BEHIND_MIN_BYTES {
        return Ok(None);
    }
    Ok(Some(random.random_range(HEADER_BYTES..used / 2)))
}

pub(super) fn free_port() -> anyhow::Result<String> {
    const ATTEMPTS_MAX: u32 = 1_000;
    let mut random = rand::rng();
    for _ in 0..ATTEMPTS_MAX {
        let address = format!("127.0.0.1:{}", random.random_range(PORTS));
        if TcpListener::bind(&address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port in {PORTS:?}")
}
