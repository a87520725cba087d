use std::{process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

use crate::bench::sidecar::program;

/// How long it may take to answer.
const ANSWER_MS_MAX: u64 = 10_000;

/// The process with the participants.
pub(super) struct Called {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Always succeeds.
    pub(super) prompt: String,
    /// Can be told to hold on.
    pub(super) holding: String,
}

/// How many calls the second participant has held and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) held: u64,
    pub(super) done: u64,
}

impl Called {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut child = program()?
            .args(["bench", "participants"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().context("no standard input")?;
        let answers = child.stdout.take().context("no standard output")?;
        let mut answers = BufReader::new(answers).lines();
        let line = line(&mut answers).await?;
        let (prompt, holding) = line.split_once(' ').context("no two addresses")?;
        Ok(Self {
            child,
            commands,
            answers,
            prompt: prompt.to_owned(),
            holding: holding.to_owned(),
        })
    }

    /// Its process, for what it costs.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Lets the second participant hold on, or go on, or only tell.
    pub(super) async fn tell(&mut self, command: &str) -> anyhow::Result<Counts> {
        let command = format!("{command}\n");
        self.commands.write_all(command.as_bytes()).await?;
        let line = line(&mut self.answers).await?;
        let (held, done) = line.split_once(' ').context("no two counts")?;
        Ok(Counts {
            held: held.parse()?,
            done: done.parse()?,
        })
    }

    /// It ends with its input.
    pub(super) async fn stop(self) {
        let mut child = self.child;
        drop(self.commands);
        let _ = timeout(Duration::from_millis(ANSWER_MS_MAX), child.wait()).await;
    }
}

async fn line(answers: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
    let limit = Duration::from_millis(ANSWER_MS_MAX);
    let line = timeout(limit, answers.next_line()).await;
    let line = line.context("the participants do not answer")??;
    line.context("the participants have ended")
}
