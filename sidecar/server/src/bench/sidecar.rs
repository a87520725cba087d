//! The sidecar under load.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// A running sidecar; ours or somebody else's.
pub(super) struct Sidecar {
    /// Where its gRPC port is.
    pub(super) uri: String,
    child: Option<Child>,
}

impl Sidecar {
    /// One that runs already; its CPU time and memory are not known.
    pub(super) fn running(uri: String) -> Self {
        Self { uri, child: None }
    }

    /// Starts one on free ports.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        const START_MS_MAX: u64 = 30_000;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .env("OUTRIGGER_LOG", "outrigger=info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
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
            child: Some(child),
        })
    }

    /// Its process id, when it is ours.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub(super) async fn stop(self) {
        const STOP_MS_MAX: u64 = 15_000;
        let Some(mut child) = self.child else { return };
        let process = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(process) = process.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = timeout(Duration::from_millis(STOP_MS_MAX), child.wait()).await;
    }
}

fn grpc_address(line: &str) -> Option<&str> {
    let (_, after) = line.split_once("grpc=")?;
    after
        .split_whitespace()
        .next()
        .map(|address| address.trim_matches('"'))
}
