use std::future::IntoFuture;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use openraft::Raft;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use tokio::sync::watch;

use super::disk::DiskWatch;
use super::machine::Machine;
use super::types::{Completion, LeaderTerm, Proposal, TypeConfig};
use crate::apply::Apply;
use crate::cluster::Leadership;
use crate::command::{Command, Outcome};
use crate::submit::{Propose, Received, SubmitError};
use crate::wal::Wal;

/// Proposes entries to the Raft group of this node.
pub(crate) struct Proposer<A: Apply> {
    raft: Raft<TypeConfig, Machine<A>>,
    wal: Arc<Wal>,
    leadership: watch::Receiver<Leadership>,
    disk: Arc<DiskWatch>,
}

impl<A: Apply> Proposer<A> {
    pub(crate) fn new(
        raft: Raft<TypeConfig, Machine<A>>,
        wal: Arc<Wal>,
        leadership: watch::Receiver<Leadership>,
        disk: Arc<DiskWatch>,
    ) -> Self {
        Self {
            raft,
            wal,
            leadership,
            disk,
        }
    }

    /// The term in which this node leads, or who else does.
    fn term(&self) -> Result<u64, SubmitError> {
        match &*self.leadership.borrow() {
            Leadership::Leading { term } => Ok(*term),
            Leadership::Following { leader, .. } => Err(SubmitError::NotLeader {
                leader: leader.as_ref().map(|(id, _)| *id),
            }),
        }
    }
}

impl<A: Apply> Proposer<A> {
    /// A disk without space takes no messages, and one that is nearly full no new ones: those
    /// that another data group has decided about hold its log until they are here. What else
    /// there is may use the rest of the segment that is being written, but for the end of it:
    /// that is for what gives space back.
    fn no_room(&self, commands: &[Command]) -> Option<SubmitError> {
        let no_space = self.wal.no_space();
        if no_space && commands.iter().any(Command::is_message) {
            return Some(SubmitError::DiskFull);
        }
        if let Some(refusal) = self.disk.refusal()
            && commands.iter().any(Command::is_new_message)
        {
            return Some(refusal);
        }
        let gives_back = |command: &Command| matches!(command, Command::Expire { .. });
        let full = no_space && !commands.iter().all(gives_back) && self.wal.is_nearly_full();
        full.then_some(SubmitError::DiskFull)
    }
}

impl<A: Apply> Propose for Proposer<A> {
    fn propose(
        &self,
        body: Bytes,
        received: Option<Arc<Received>>,
        done: impl FnOnce(Result<Vec<Outcome>, SubmitError>) + Send + 'static,
    ) {
        let term = match self.term() {
            Ok(term) => term,
            Err(refusal) => return done(Err(refusal)),
        };
        let completion = Completion::new(
            move |result: openraft::raft::ClientWriteResult<TypeConfig>| {
                done(result.map(|response| response.data).map_err(refused));
            },
        );
        // Only in the term for which the clock was set: had this node lost its leadership and
        // got it back meanwhile, the entry's stamp could be before that of another leader's.
        let sending = self
            .raft
            .write(Proposal::new(body).with_received(received))
            .with_leader(LeaderTerm::from(term))
            .responder(completion)
            .into_future();
        // Entries on their way are far fewer than the channel's places, so this never waits;
        // outside the runtime's budget it has no other reason to.
        match tokio::task::unconstrained(sending).now_or_never() {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "the Raft group has stopped"),
            None => tracing::error!("the Raft group's channel is full; an entry was not proposed"),
        }
    }

    fn refusal(&self, commands: &[Command]) -> Option<SubmitError> {
        self.no_room(commands).or_else(|| self.term().err())
    }
}

fn refused(error: ClientWriteError<TypeConfig>) -> SubmitError {
    match error {
        // Answered before anything was appended, as nothing else is.
        ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id, .. }) => {
            SubmitError::NotLeader { leader: leader_id }
        }
        // The last two answer only proposals of memberships or with a precondition.
        ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_) => SubmitError::OutcomeUnknown,
    }
}
