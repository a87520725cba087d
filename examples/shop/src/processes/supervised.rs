use std::{
    fs::File,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
};

use super::signal;

/// How long a process may take to end when it is asked to.
const STOP_MAX_MS: u64 = 20_000;
const REQUESTS_MAX: usize = 16;
const FAILURES_MAX: usize = 16;
/// How much of its output is shown when a process ended by itself.
const OUTPUT_LINES_SHOWN: usize = 15;

/// A process that is started again when it was killed. When it ends by itself, that is a
/// failure of the run.
pub(crate) struct Supervised {
    name: String,
    requests: mpsc::Sender<Request>,
    supervising: JoinHandle<anyhow::Result<()>>,
    kills: Arc<AtomicU64>,
}

enum Request {
    Kill,
    /// Stops it for a while, as a busy machine or a debugger would.
    Pause(Duration),
    Stop,
}

/// Where processes tell that they have failed.
#[derive(Clone)]
pub(crate) struct Failures(mpsc::Sender<anyhow::Error>);

/// Where it is heard.
pub(crate) struct Failed(mpsc::Receiver<anyhow::Error>);

pub(crate) fn failures() -> (Failures, Failed) {
    let (sender, receiver) = mpsc::channel(FAILURES_MAX);
    (Failures(sender), Failed(receiver))
}

impl Failed {
    /// Does `work`, unless a process fails meanwhile.
    pub(crate) async fn unless<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            Some(failure) = self.0.recv() => Err(failure),
        }
    }
}

/// What starts the process for its so-many-th life.
type Start = Box<dyn Fn(usize) -> Command + Send + Sync>;

impl Supervised {
    pub(crate) fn start(
        name: impl Into<String>,
        directory: &Path,
        failures: &Failures,
        start: impl Fn(usize) -> Command + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let kills = Arc::new(AtomicU64::new(0));
        let life = Life {
            name: name.clone(),
            output: directory.join(format!("{name}.log")),
            start: Box::new(start),
            kills: Arc::clone(&kills),
        };
        let failed = failures.clone();
        let supervising = tokio::spawn(async move {
            let ended = life.supervise(incoming).await;
            if let Err(error) = &ended {
                let _ = failed.0.try_send(anyhow::anyhow!("{error:#}"));
            }
            ended
        });
        Self {
            name,
            requests,
            supervising,
            kills,
        }
    }

    pub(crate) async fn kill(&self) {
        // An error means that it has failed, which has been told.
        let _ = self.requests.send(Request::Kill).await;
    }

    pub(crate) async fn pause(&self, time: Duration) {
        let _ = self.requests.send(Request::Pause(time)).await;
    }

    /// How often it was killed.
    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let _ = self.requests.send(Request::Stop).await;
        self.supervising
            .await?
            .with_context(|| format!("stopping {}", self.name))
    }
}

struct Life {
    name: String,
    output: PathBuf,
    start: Start,
    kills: Arc<AtomicU64>,
}

impl Life {
    async fn supervise(self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<()> {
        let mut number = 0;
        let mut child = self.spawn(number)?;
        loop {
            tokio::select! {
                status = child.wait() => {
                    self.expect_killed(status?)?;
                    number += 1;
                    child = self.spawn(number)?;
                }
                request = requests.recv() => match request {
                    // When it has just died by itself there is nothing to signal.
                    Some(Request::Kill) => drop(signal(&child, Signal::KILL)),
                    Some(Request::Pause(time)) => {
                        drop(signal(&child, Signal::STOP));
                        tokio::time::sleep(time).await;
                        drop(signal(&child, Signal::CONT));
                    }
                    Some(Request::Stop) | None => return self.stop(child).await,
                },
            }
        }
    }

    fn spawn(&self, number: usize) -> anyhow::Result<Child> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.output)?;
        (self.start)(number)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))
    }

    fn expect_killed(&self, status: ExitStatus) -> anyhow::Result<()> {
        if status.signal() == Some(Signal::KILL.as_raw()) {
            self.kills.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        let output = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let last = lines.len().saturating_sub(OUTPUT_LINES_SHOWN);
        anyhow::bail!(
            "{} ended by itself with {status}; its last words:\n{}",
            self.name,
            lines.get(last..).unwrap_or_default().join("\n")
        )
    }

    async fn stop(&self, mut child: Child) -> anyhow::Result<()> {
        // It may have died on its own crash plan at this very moment.
        drop(signal(&child, Signal::TERM));
        let wait = tokio::time::timeout(Duration::from_millis(STOP_MAX_MS), child.wait());
        let status = wait
            .await
            .with_context(|| format!("{} did not end within {STOP_MAX_MS} ms", self.name))??;
        if status.success() {
            return Ok(());
        }
        self.expect_killed(status)
    }
}
