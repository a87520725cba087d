//! The sidecar under load.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::served::Served;

/// How long a process may take to open its ports.
const START_MS_MAX: u64 = 30_000;
/// How long a process may take to end.
const STOP_MS_MAX: u64 = 15_000;

/// A sidecar process of our own.
pub(super) struct Sidecar {
    uri: String,
    child: Child,
}

impl Sidecar {
    /// Starts one with a log of its own on free ports.
    pub(super) async fn start(data: &Path, groups: u32) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.arg("serve").arg("--data").arg(data);
        command.args(["--groups", &groups.to_string()]);
        Self::spawn(command).await
    }

    /// Starts one that passes everything to these nodes.
    pub(super) async fn start_before(nodes: &[String]) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.args(["sidecar", "--log", &nodes.join(",")]);
        Self::spawn(command).await
    }

    async fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child
            .stderr
            .take()
            .context("the sidecar has no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = grpc_address(&line) {
                    return Ok(address.to_owned());
                }
            }
            anyhow::bail!("the sidecar ended before it was ready")
        };
        let address = timeout(Duration::from_millis(START_MS_MAX), ready).await??;
        // Whatever else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            uri: format!("http://{address}"),
            child,
        })
    }

    pub(super) fn served(&self) -> Served {
        Served {
            uri: self.uri.clone(),
            processes: self.child.id().into_iter().collect(),
            helpers: Vec::new(),
        }
    }

    pub(super) async fn stop(mut self) {
        stop(&mut self.child).await;
    }

    /// As kill -9. Returns when the process is gone.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// This very program, quiet.
pub(super) fn program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env("OUTRIGGER_LOG", "outrigger=info")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Asks a process to end, and waits for that.
pub(super) async fn stop(child: &mut Child) {
    let process = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(process) = process.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    }
    let _ = timeout(Duration::from_millis(STOP_MS_MAX), child.wait()).await;
}

fn grpc_address(line: &str) -> Option<&str> {
    let (_, after) = line.split_once("grpc=")?;
    after
        .split_whitespace()
        .next()
        .map(|address| address.trim_matches('"'))
}
