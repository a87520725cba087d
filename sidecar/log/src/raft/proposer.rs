use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use openraft::Raft;
use openraft::errors::{ClientWriteError, ForwardToLeader};

use super::machine::Machine;
use super::types::{Completion, Proposal, TypeConfig};
use crate::apply::Apply;
use crate::command::Outcome;
use crate::submit::{Propose, SubmitError};
use crate::wal::Wal;

/// Proposes entries to the Raft group of this node.
pub(crate) struct Proposer<A: Apply> {
    raft: Raft<TypeConfig, Machine<A>>,
    wal: Arc<Wal>,
}

impl<A: Apply> Proposer<A> {
    pub(crate) fn new(raft: Raft<TypeConfig, Machine<A>>, wal: Arc<Wal>) -> Self {
        Self { raft, wal }
    }
}

impl<A: Apply> Propose for Proposer<A> {
    fn propose(
        &self,
        body: Bytes,
        done: impl FnOnce(Result<Vec<Outcome>, SubmitError>) + Send + 'static,
    ) {
        let completion = Completion::new(
            move |result: openraft::raft::ClientWriteResult<TypeConfig>| {
                done(result.map(|response| response.data).map_err(refused));
            },
        );
        let proposal = Proposal::new(body);
        let sending = self.raft.client_write_ff(proposal, Some(completion));
        // Entries on their way are far fewer than the channel's places, so this never waits;
        // outside the runtime's budget it has no other reason to.
        match tokio::task::unconstrained(sending).now_or_never() {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "the Raft group has stopped"),
            None => tracing::error!("the Raft group's channel is full; an entry was not proposed"),
        }
    }

    fn refusal(&self) -> Option<SubmitError> {
        self.wal.no_space().then_some(SubmitError::DiskFull)
    }
}

fn refused(error: ClientWriteError<TypeConfig>) -> SubmitError {
    match error {
        ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id, .. }) => {
            SubmitError::NotLeader { leader: leader_id }
        }
        // The last two answer only proposals of memberships or with a precondition.
        ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_) => SubmitError::OutcomeUnknown,
    }
}
