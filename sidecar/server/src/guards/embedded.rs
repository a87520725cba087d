use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use outrigger_core::guard::{Input, Outcome};
use outrigger_log::{self as log, Command, Log};

use super::{Error, GuardStore};

/// Guards in the log store. Needs nothing else; the default.
///
/// # What it guarantees
///
/// An answer means that the guard's new state is synced to disk, and in a cluster on a
/// majority of its nodes: no restart and no failover of the log forgets an answered call or
/// gives a fencing number twice. Time is the log leader's, which never runs backwards.
///
/// # What it does not
///
/// The guard and the effect that it protects are in different places: a holder that pauses
/// beyond its deadline may still act. Let whatever the effect writes to refuse a smaller
/// fencing number, or use the inbox in the effect's own database transaction.
///
/// A fencing number is kept for a day after its last holder; a key unused for longer
/// starts at 1 again. Longer than any lease, so no holder is left by then.
pub struct EmbeddedGuards {
    log: Log,
}

impl EmbeddedGuards {
    /// In this log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    async fn run(&self, scope: &str, key: Bytes, input: Input) -> Result<Outcome, Error> {
        let command = Command::Guard {
            scope: scope.to_owned(),
            key,
            input,
        };
        match self.log.submit(vec![command])?.await?.pop() {
            Some(log::Outcome::Guard(outcome)) => Ok(outcome),
            other => Err(Error::Unexpected {
                answer: format!("{other:?}"),
            }),
        }
    }
}

impl GuardStore for EmbeddedGuards {
    fn apply<'a>(
        &'a self,
        scope: &'a str,
        key: Bytes,
        input: Input,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        self.run(scope, key, input).boxed()
    }
}
