//! Taking in a floor checkpoint that the leader sends.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use openraft::Raft;
use tokio::sync::mpsc;

use super::floor::snapshot;
use super::machine::Machine;
use super::network::{FloorBegin, decode_chunk, encode_installed};
use super::types::{NodeId, TypeConfig};
use crate::apply::Apply;
use crate::blocking::Blocking;
use crate::floor::{FloorFile, Floors};

/// What is needed for it.
pub(super) struct Receiver<A: Apply> {
    pub(super) raft: Raft<TypeConfig, Machine<A>>,
    pub(super) floors: Arc<Floors>,
    pub(super) blocking: Blocking,
}

impl<A: Apply> Receiver<A> {
    /// Takes one floor checkpoint in and answers when it is in use. The stream ends without
    /// an answer when anything is wrong with it; the leader begins again.
    pub(super) async fn run(
        self,
        from: NodeId,
        mut frames: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Bytes>,
    ) {
        match self.receive(from, &mut frames).await {
            // Nobody waits for it any more when the leader has changed.
            Ok(answer) => drop(answers.send(answer).await),
            Err(error) => tracing::warn!(from, %error, "a floor checkpoint was not taken in"),
        }
    }

    async fn receive(&self, from: NodeId, frames: &mut mpsc::Receiver<Bytes>) -> io::Result<Bytes> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let first = frames.recv().await.ok_or_else(ended)?;
        let begin = FloorBegin::decode(&first, from).map_err(io::Error::other)?;
        tracing::info!(from, bytes = begin.bytes, "taking in a floor checkpoint");
        let path = self.floors.receiving();
        let unfinished = Unfinished(Some(path.clone()));
        let mut file = Arc::new(File::create(&path)?);
        let mut received = 0;
        while received < begin.bytes {
            let frame = frames.recv().await.ok_or_else(ended)?;
            received += self.write(&mut file, received, frame).await?;
        }
        let opening = move || open(&file, &path);
        let file = self.blocking.run(opening).await.flatten()?;
        unfinished.keep();
        let installed = self.raft.install_full_snapshot(begin.vote, snapshot(file));
        let response = installed.await.map_err(io::Error::other)?;
        Ok(encode_installed(&response.vote))
    }

    async fn write(&self, file: &mut Arc<File>, at: u64, frame: Bytes) -> io::Result<u64> {
        let file = Arc::clone(file);
        let write = move || {
            let (offset, chunk) = decode_chunk(&frame).map_err(io::Error::other)?;
            if offset != at || chunk.is_empty() {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            (&*file).write_all(chunk)?;
            Ok(chunk.len() as u64)
        };
        self.blocking.run(write).await.flatten()
    }
}

/// A file that is of no use when the transfer ends before it is whole.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// It is whole: the Raft group has it now, even if nobody waits for its answer.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "an unfinished file was not removed");
        }
    }
}

/// Makes what was received durable, and reads all of it.
fn open(file: &File, path: &Path) -> io::Result<FloorFile> {
    file.sync_all()?;
    let file = FloorFile::open(path)?;
    file.verify()?;
    Ok(file)
}
