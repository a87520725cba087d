use std::fmt;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::Member;

/// The largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = crate::raft::FRAME_BYTES_MAX;

/// What a stream between two nodes carries. Each kind has a stream of its own, so that large
/// ones hold up nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PurposeKind {
    /// Entries from the leader, and how far they are durable, in order.
    Append,
    /// Votes, and the hand-over of leadership: one question and one answer at a time.
    Call,
    /// State for a node that lacks entries which are gone.
    Checkpoint,
}

impl fmt::Display for PurposeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "append",
            Self::Call => "call",
            Self::Checkpoint => "checkpoint",
        })
    }
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Purpose {
    /// The Raft group.
    pub group: u32,
    /// What it carries.
    pub kind: PurposeKind,
}

/// Both ends of a stream of frames, as the side that opened it has them. Dropping either ends
/// the stream.
#[derive(Debug)]
pub struct Exchange {
    /// What this node sends.
    pub frames: mpsc::Sender<Bytes>,
    /// What the other one answers. Its end says that the stream has ended.
    pub answers: mpsc::Receiver<Bytes>,
}

/// A stream that is being opened.
pub type OpenExchange = BoxFuture<'static, io::Result<Exchange>>;

/// The way to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream of frames to a node, and hands what arrives there to
    /// [`Log::serve_peer`](crate::Log::serve_peer). Frames arrive in order and once, or the
    /// stream ends.
    ///
    /// The node that is reached must be the very instance that `member` names.
    fn open(&self, target: u64, member: &Member, purpose: Purpose) -> OpenExchange;
}
