use futures::future::{BoxFuture, FutureExt as _, ready};
use outrigger_core::saga::ledger::{Answer, Command, Defined, Filter, Page, View};
use outrigger_log::{Durability, Log, command::Outcome};
use tonic::Code;

use super::Kept;
use crate::{
    clock::now_ms,
    edge::{status::Failure, unexpected_outcome},
};

impl Kept for Log {
    fn submit(&self, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Answer>, Failure>> {
        if let Some(answers) = without_sagas(self, &commands) {
            return ready(Ok(answers)).boxed();
        }
        let commands = commands.into_iter().map(Into::into).collect();
        let submitted = self.submit_at(commands, Durability::Synced, self.aftermath());
        async move {
            let outcomes = submitted?.await?.into_iter();
            let answers = outcomes.map(|outcome| match outcome {
                Outcome::Saga(answer) => Ok(*answer),
                Outcome::Refused(refusal) => Err(refusal.into()),
                other => Err(unexpected_outcome(Some(&other))),
            });
            answers.collect()
        }
        .boxed()
    }

    fn saga(&self, id: &str) -> Result<Option<View>, Failure> {
        Self::saga(self, id).map_err(unreadable)
    }

    fn sagas(&self, filter: &Filter, after: &str, limit: usize) -> Result<Page, Failure> {
        Self::sagas(self, filter, after, limit).map_err(unreadable)
    }

    fn definitions(&self, name: Option<&str>) -> Vec<Defined> {
        self.saga_definitions(name)
    }
}

/// While nobody has defined a saga there is nothing to own, and a data group at rest is not
/// written to once a second because of it.
fn without_sagas(log: &Log, commands: &[Command]) -> Option<Vec<Answer>> {
    let answers = commands.iter().map(|command| match command {
        Command::Own {
            lease_ms, heard, ..
        } => Some(Answer::Owned {
            until_ms: now_ms().saturating_add(*lease_ms),
            taken: Vec::new(),
            acted_on: Vec::new(),
            more: false,
            told: *heard,
        }),
        Command::Define { .. }
        | Command::Start { .. }
        | Command::Append { .. }
        | Command::Act { .. }
        | Command::Report { .. } => None,
    });
    let answers = answers.collect::<Option<_>>()?;
    log.saga_definitions(None).is_empty().then_some(answers)
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    let message = format!("the sagas cannot be read: {error}");
    Failure::new(Code::Internal, "LOG_UNREADABLE", message)
}
