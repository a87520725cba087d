//! A real sidecar process, which tests start, kill and start again.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long a start may take before a test gives up.
const START_MS_MAX: u64 = 30_000;

/// A running sidecar on ports of its own; killed when it is dropped.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    settings: Settings,
    grpc: String,
    http: String,
}

/// How a sidecar is started.
#[derive(Clone, Debug)]
pub struct Settings {
    data: PathBuf,
    nodes: Vec<String>,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Settings {
    /// Embedded defaults, with the log store in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            nodes: Vec::new(),
            config: None,
            environment: Vec::new(),
        }
    }

    /// No log of its own: it passes everything to a cluster with these nodes. What else it
    /// needs goes beside the data directory.
    #[must_use]
    pub fn before(mut self, nodes: &[&str]) -> Self {
        self.nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        self
    }

    /// Writes a configuration file beside the data directory.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn with_config(mut self, toml: &str) -> anyhow::Result<Self> {
        let path = self.data.with_extension("toml");
        fs::write(&path, toml)?;
        self.config = Some(path);
        Ok(self)
    }

    /// Sets an environment variable of the sidecar.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the process without waiting for it to be ready.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(&self, grpc: &str, http: &str) -> anyhow::Result<Child> {
        let mut command = Command::new(program()?);
        if self.nodes.is_empty() {
            command.arg("serve").arg("--data").arg(&self.data);
        } else {
            command.args(["sidecar", "--log", &self.nodes.join(",")]);
        }
        command.args(["--listen", grpc, "--http", http]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        Ok(command.spawn()?)
    }
}

impl Sidecar {
    /// Starts a sidecar on free ports and waits until it is ready.
    ///
    /// # Errors
    ///
    /// With what the sidecar printed, when it ends before it is ready.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        Self::start_at(settings, "127.0.0.1:0", "127.0.0.1:0")
    }

    fn start_at(settings: Settings, grpc: &str, http: &str) -> anyhow::Result<Self> {
        let mut child = settings.spawn(grpc, http)?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let (grpc, http) = match ports(stderr) {
            Ok(ports) => ports,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Self {
            child,
            settings,
            grpc,
            http,
        })
    }

    /// The URI of the gRPC port.
    pub fn uri(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Host and port of the HTTP port.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The directory of its log store.
    pub fn data(&self) -> &Path {
        &self.settings.data
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id")?, signal)?)
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same ports and the same data, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`Sidecar::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let _ = self.kill();
        *self = Self::start_at(self.settings.clone(), &self.grpc, &self.http)?;
        Ok(())
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    ///
    /// When it runs longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "still running after {limit:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo builds the programs of this package beside its tests.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test
        .parent()
        .and_then(Path::parent)
        .context("a target directory")?;
    Ok(target.join("outrigger-under-test"))
}

/// Reads the ports from the line that says "ready", and goes on reading in the background
/// so that the sidecar never waits for its own messages to be read.
fn ports(stderr: ChildStderr) -> anyhow::Result<(String, String)> {
    let (found, ready) = mpsc::channel();
    thread::spawn(move || {
        let echo = std::env::var_os("OUTRIGGER_TEST_ECHO").is_some();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if echo {
                let _ = writeln!(std::io::stdout(), "sidecar: {line}");
            }
            let _ = found.send(line);
        }
    });
    let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
    let mut printed = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = ready.recv_timeout(left) else {
            anyhow::bail!(
                "the sidecar did not become ready; it printed:\n{}",
                printed.join("\n")
            );
        };
        if let (Some(grpc), Some(http)) = (value(&line, "grpc="), value(&line, "http=")) {
            return Ok((grpc, http));
        }
        printed.push(line);
    }
}

fn value(line: &str, key: &str) -> Option<String> {
    let (_, after) = line.split_once(key)?;
    Some(
        after
            .split_whitespace()
            .next()?
            .trim_matches('"')
            .to_owned(),
    )
}
