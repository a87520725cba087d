//! What other nodes ask of this one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use openraft::{Raft, ReadPolicy};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::machine::Machine;
use super::network::{
    Answer, Question, asks_for_receipt, decode_request, encode_answer, encode_receipt,
};
use super::node::Node;
use super::receive::Receiver;
use super::telling::Telling;
use super::types::{NodeId, TypeConfig};
use crate::apply::Apply;
use crate::cluster::{Leadership, Purpose, PurposeKind};
use crate::submit::SubmitError;

/// Answers that wait to be sent, at most.
const ANSWERS_MAX: usize = 64;
/// How long it is waited for the leader, and for entries, before a read on a follower.
const READ_MS_MAX: u64 = 2_000;

type Group<A> = Raft<TypeConfig, Machine<A>>;

impl<A: Apply> Node<A> {
    pub(crate) fn serve_peer(
        &self,
        from: NodeId,
        purpose: Purpose,
        frames: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Bytes> {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        if purpose.group != self.group {
            tracing::warn!(from, group = purpose.group, "a stream for an unknown group");
            return receiver;
        }
        let raft = self.raft.clone();
        match purpose.kind {
            PurposeKind::Append => {
                let (ask, asked) = watch::channel(0);
                let telling = Telling::new(&self.receipts, asked);
                let requests = requests(from, frames, ask);
                tokio::spawn(serve_appends(raft, requests, telling, answers));
            }
            PurposeKind::Call => {
                let silent_until = self.silent_until;
                tokio::spawn(serve_calls(raft, from, silent_until, frames, answers));
            }
            PurposeKind::Checkpoint => {
                let receiver = Receiver {
                    raft,
                    floors: Arc::clone(&self.floors),
                    blocking: self.blocking,
                };
                tokio::spawn(receiver.run(from, frames, answers));
            }
        }
        receiver
    }

    pub(crate) async fn read_barrier(&self) -> Result<(), SubmitError> {
        let leader = match &*self.leadership.borrow() {
            Leadership::Leading { .. } => None,
            Leadership::Following { leader, .. } => Some(leader.clone()),
        };
        let Some(leader) = leader else {
            return self.confirm_leadership().await;
        };
        let (id, member) = leader.ok_or(SubmitError::NotLeader { leader: None })?;
        let limit = Duration::from_millis(READ_MS_MAX);
        let mut peer = self.network.to(id, &member);
        let index = match peer.ask(&Question::ReadIndex, limit).await {
            Ok(Answer::ReadIndex(at)) => at.index,
            Ok(Answer::NotLeader(leader)) => return Err(SubmitError::NotLeader { leader }),
            Ok(_) | Err(_) => return Err(SubmitError::NotLeader { leader: Some(id) }),
        };
        let applied = self.raft.wait(Some(limit));
        let applied = applied.applied_index_at_least(Some(index), "a read").await;
        applied
            .map(drop)
            .map_err(|_| SubmitError::NotLeader { leader: Some(id) })
    }
}

/// The requests in a stream of frames, until one cannot be understood.
fn requests(
    from: NodeId,
    frames: mpsc::Receiver<Bytes>,
    ask: watch::Sender<u64>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    futures::stream::unfold((frames, ask), move |(mut frames, ask)| async move {
        let frame = frames.recv().await?;
        match decode_request(&frame, from) {
            Ok(request) => {
                let last = request.entries.last().map(|entry| entry.log_id);
                let last = last
                    .or(request.prev_log_id)
                    .map_or(0, |last| last.index + 1);
                if asks_for_receipt(&frame) {
                    ask.send_if_modified(|asked| std::mem::replace(asked, last) != last);
                }
                Some((request, (frames, ask)))
            }
            Err(error) => {
                tracing::error!(from, %error, "entries from another node were refused");
                None
            }
        }
    })
}

async fn serve_appends<A: Apply>(
    raft: Group<A>,
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static,
    mut telling: Telling,
    answers: mpsc::Sender<Bytes>,
) {
    let results = raft.stream_append(requests);
    futures::pin_mut!(results);
    loop {
        let result = tokio::select! {
            result = results.next() => result,
            received = telling.next() => {
                if answers.send(encode_receipt(received)).await.is_err() {
                    return;
                }
                continue;
            }
            () = answers.closed() => return,
        };
        let Some(Ok(result)) = result else {
            return;
        };
        if answers.send(encode_answer(&result)).await.is_err() {
            return;
        }
    }
}

async fn serve_calls<A: Apply>(
    raft: Group<A>,
    from: NodeId,
    silent_until: Instant,
    mut frames: mpsc::Receiver<Bytes>,
    answers: mpsc::Sender<Bytes>,
) {
    while let Some(frame) = frames.recv().await {
        let question = match Question::decode(&frame, from) {
            Ok(question) => question,
            Err(error) => {
                tracing::error!(from, %error, "a question of another node was refused");
                return;
            }
        };
        let Some(answer) = answer(&raft, question, silent_until).await else {
            return;
        };
        if answers.send(answer.encode()).await.is_err() {
            return;
        }
    }
}

/// Nothing when the group has stopped.
async fn answer<A: Apply>(
    raft: &Group<A>,
    question: Question,
    silent_until: Instant,
) -> Option<Answer> {
    match question {
        Question::Vote(request) => {
            tokio::time::sleep_until(silent_until).await;
            raft.vote(request).await.ok().map(Answer::Vote)
        }
        Question::PreVote(request) => {
            tokio::time::sleep_until(silent_until).await;
            raft.pre_vote(request).await.ok().map(Answer::Vote)
        }
        Question::Transfer(request) => {
            let taken = raft.handle_transfer_leader(request).await;
            taken.ok().map(Answer::Transfer)
        }
        Question::ReadIndex => {
            let read = raft.get_read_log_id(ReadPolicy::ReadIndex).await;
            Some(match read {
                Ok((at, _)) => Answer::ReadIndex(*at.log_id()),
                Err(error) => {
                    let forward = error.forward_to_leader();
                    Answer::NotLeader(forward.and_then(|forward| forward.leader_id))
                }
            })
        }
    }
}
