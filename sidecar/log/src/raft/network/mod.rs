//! The way from this node to the others.

mod append;
mod call;
mod floor;
mod frame;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Vote};

pub(super) use append::{asks_for_receipt, decode_request, encode_answer, encode_receipt};
pub(super) use call::{Answer, Question};
use floor::{CHUNK_BYTES, decode_installed, encode_chunk};
pub(super) use floor::{FloorBegin, decode_chunk, encode_installed};
pub(crate) use frame::{APPEND_BYTES_MAX, FRAME_BYTES_MAX};
use session::{AppendStream, Session};

use super::floor::Snapshot;
use super::receipts::Receipts;
use super::types::{LeaderId, NodeId, TypeConfig};
use crate::blocking::Blocking;
use crate::cluster::{Exchange, Member, Purpose, PurposeKind, Transport};
use crate::floor::{FloorFile, Floors};

type Failure = RPCError<TypeConfig>;

/// How long opening a stream may take.
const OPEN_MS_MAX: u64 = 1_000;
/// How long a node may take to put a floor checkpoint in use that it has received.
const INSTALL_MS_MAX: u64 = 600_000;
/// The pauses before a node that could not be reached is tried again; the last one repeats.
const RETRY_MS: [u64; 5] = [10, 20, 50, 100, 200];

/// Makes ways to other nodes.
#[derive(Clone)]
pub(crate) struct Network {
    /// `None` when this node is alone.
    transport: Option<Arc<dyn Transport>>,
    group: u32,
    receipts: Arc<Receipts>,
    sources: Sources,
}

/// What floor checkpoints are sent from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) floors: Arc<Floors>,
    pub(crate) blocking: Blocking,
}

impl Sources {
    /// Fails when it is not what was written. Whoever received it would only ask again.
    async fn check(&self, floor: &FloorFile) -> io::Result<()> {
        let (floors, floor) = (Arc::clone(&self.floors), floor.clone());
        match self
            .blocking
            .run(move || floors.verify(&floor))
            .await
            .flatten()?
        {
            true => Ok(()),
            false => {
                let message = "the floor checkpoint cannot be read; the next one is waited for";
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }
}

impl Network {
    pub(crate) fn new(
        transport: Option<Arc<dyn Transport>>,
        group: u32,
        receipts: Arc<Receipts>,
        sources: Sources,
    ) -> Self {
        Self {
            transport,
            group,
            receipts,
            sources,
        }
    }

    /// The way to one node.
    pub(crate) fn to(&self, target: NodeId, member: &Member) -> Peer {
        Peer {
            network: self.clone(),
            target,
            member: member.clone(),
            append: None,
            call: None,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Peer {
        self.to(target, node)
    }
}

/// The way to one node, with the streams that are open.
pub(crate) struct Peer {
    network: Network,
    target: NodeId,
    member: Member,
    append: Option<AppendStream>,
    call: Option<Exchange>,
}

impl Peer {
    async fn open(&self, kind: PurposeKind) -> io::Result<Exchange> {
        let Some(transport) = &self.network.transport else {
            let message = "this node runs alone";
            return Err(io::Error::new(io::ErrorKind::NotConnected, message));
        };
        let group = self.network.group;
        let opening = transport.open(self.target, &self.member, Purpose { group, kind });
        let limit = Duration::from_millis(OPEN_MS_MAX);
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, question: &Question, limit: Duration) -> io::Result<Answer> {
        let asked = tokio::time::timeout(limit, self.ask_in_time(question));
        let asked = asked.await;
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask_in_time(&mut self, question: &Question) -> io::Result<Answer> {
        // Not there until the answer is: what follows an unanswered question is not known.
        let mut exchange = match self.call.take() {
            Some(exchange) if !exchange.frames.is_closed() => exchange,
            _ => self.open(PurposeKind::Call).await?,
        };
        let ended = || io::Error::other("the stream has ended");
        let sent = exchange.frames.send(question.encode()).await;
        sent.map_err(|_| ended())?;
        let answer = exchange.answers.recv().await.ok_or_else(ended)?;
        let answer = Answer::decode(&answer).map_err(io::Error::other)?;
        self.call = Some(exchange);
        Ok(answer)
    }

    /// Sends a floor checkpoint and waits until it is in use; whom the other one takes for
    /// the leader then.
    async fn send_floor(
        &self,
        vote: Vote<LeaderId>,
        floor: &FloorFile,
    ) -> io::Result<Vote<LeaderId>> {
        self.network.sources.check(floor).await?;
        let mut exchange = self.open(PurposeKind::Checkpoint).await?;
        let ended = || io::Error::other("the stream has ended");
        let bytes = floor.bytes()?;
        tracing::info!(to = self.target, bytes, "sending a floor checkpoint");
        let begin = FloorBegin { vote, bytes }.encode();
        exchange.frames.send(begin).await.map_err(|_| ended())?;
        let mut sent = 0;
        while sent < bytes {
            // Read one after the other, as fast as they are taken.
            let chunk = floor.chunk(sent, CHUNK_BYTES)?;
            let frame = encode_chunk(sent, &chunk);
            exchange.frames.send(frame).await.map_err(|_| ended())?;
            sent += chunk.len() as u64;
        }
        let limit = Duration::from_millis(INSTALL_MS_MAX);
        let answer = tokio::time::timeout(limit, exchange.answers.recv()).await;
        let answer = answer.map_err(io::Error::other)?.ok_or_else(ended)?;
        decode_installed(&answer).map_err(io::Error::other)
    }

    async fn ask_for(
        &mut self,
        question: &Question,
        option: &RPCOption,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(question, option.soft_ttl()).await;
        answer.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }
}

/// An answer to another question.
fn unexpected() -> Failure {
    RPCError::Network(NetworkError::from_string(
        "the answer is to another question",
    ))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = FloorFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        let requests = futures::stream::iter([rpc]);
        let mut answers = self.stream_append(requests, option).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(unexpected()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failure>>, Failure>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = input;
            let mut first = None;
            match &mut self.append {
                Some(stream) => stream.forget(),
                None => {
                    // After a failure the first request waits until the node may be tried again,
                    // so nothing is opened before it is there.
                    first = input.next().await;
                    if first.is_none() {
                        return Ok(Box::pin(futures::stream::empty()) as BoxStream<'s, _>);
                    }
                    let opened = self.open(PurposeKind::Append).await;
                    let exchange =
                        opened.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?;
                    let receipts = Arc::clone(&self.network.receipts);
                    self.append = Some(AppendStream::new(self.target, exchange, receipts));
                }
            }
            let input = futures::stream::iter(first).chain(input);
            let session = Session::new(&mut self.append, input);
            let answers = futures::stream::unfold(session, |mut session| async move {
                let answer = session.next().await?;
                Some((answer, session))
            });
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        match self.ask_for(&Question::Vote(rpc), &option).await? {
            Answer::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        match self.ask_for(&Question::PreVote(rpc), &option).await? {
            Answer::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<LeaderId>,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = self.send_floor(vote, &snapshot.snapshot) => answer,
        };
        match answer {
            Ok(vote) => Ok(SnapshotResponse { vote }),
            Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        match self.ask_for(&Question::Transfer(req), &option).await? {
            Answer::Transfer(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = RETRY_MS.last().copied().unwrap_or_default();
        let pauses = RETRY_MS.into_iter().chain(std::iter::repeat(last));
        Some(Backoff::new(pauses.map(Duration::from_millis)))
    }
}
