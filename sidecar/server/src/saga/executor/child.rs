//! Sagas that are steps of other ones.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use outrigger_core::saga::{
    self, ErrorClass, Outcome, Phase, Record, child_id,
    definition::Version,
    event::{Act, Note, Parent, Start},
    ledger::{Answer, Command},
    record::Status,
};
use tokio::time::Instant;

use super::{Failed, Handle, Waited};
use crate::saga::store::{Store, Why};

/// A call whose target is a saga of its own.
pub(super) struct Child {
    id: String,
    parent: String,
    step: String,
    definition: String,
    version: Version,
    phase: Phase,
    payload: Bytes,
    timeout: Duration,
}

impl Child {
    pub(super) fn of(
        record: &Record,
        call: &saga::Call,
        definition: &str,
        version: Version,
    ) -> Self {
        let parent = record.started().saga.clone();
        let step = record.definition().step(call.step);
        let step = step.map(|step| step.name.clone()).unwrap_or_default();
        Self {
            id: child_id(&parent, &step),
            parent,
            step,
            definition: definition.to_owned(),
            version,
            phase: call.phase,
            payload: call.payload.clone(),
            timeout: Duration::from_millis(call.timeout_ms),
        }
    }

    /// Starts the saga or has it undone, and waits for that as long as the call may take.
    /// After that it is ongoing, and is asked for again.
    pub(super) async fn call(self, handle: &Handle, store: &dyn Store) -> Outcome {
        let until = Instant::now() + self.timeout;
        let called = async {
            match self.phase {
                Phase::Action | Phase::Confirm => self.action(handle, store, until).await,
                Phase::Undo => self.undo(handle, until).await,
            }
        };
        match called.await {
            Ok(outcome) => outcome,
            Err(failed) => unsettled(ErrorClass::Unreachable, failed.to_string()),
        }
    }

    async fn action(
        &self,
        handle: &Handle,
        store: &dyn Store,
        until: Instant,
    ) -> Result<Outcome, Failed> {
        let definition = store.definition(&self.definition, Some(self.version));
        let Some(definition) = definition.await? else {
            let message = format!("there is no saga definition {:?}", self.definition);
            return Ok(unsettled(ErrorClass::Internal, message));
        };
        let start = Start {
            saga: self.id.clone(),
            definition: self.definition.clone(),
            version: self.version,
            input: self.payload.clone(),
            start_at_ms: 0,
            deadline_at_ms: None,
            parent: Some(Parent {
                saga: self.parent.clone(),
                step: self.step.clone(),
            }),
        };
        match handle.start(Arc::clone(&definition), start).await {
            Ok(_) => {}
            // A person has edited the input since; what was started goes on.
            Err(Failed::Refused(refused)) if refused.why == Why::Conflict => {}
            Err(Failed::Refused(refused)) => {
                return Ok(match refused.why {
                    // Nobody waits for it any more, or it can never be.
                    Why::Illegal | Why::NotCalled | Why::StartInvalid => Outcome::Failure {
                        message: refused.message,
                    },
                    _ => unsettled(ErrorClass::Overloaded, refused.message),
                });
            }
            Err(unavailable) => return Err(unavailable),
        }
        let waited = handle.wait_for(&self.id, until, has_ended).await?;
        Ok(match waited {
            Waited::Settled(record) if record.status() == Status::Completed => {
                match record.result() {
                    Ok(output) => Outcome::Success {
                        output: output.unwrap_or_default(),
                    },
                    Err(error) => unsettled(
                        ErrorClass::BadAnswer,
                        format!("the mapping of the output {error}"),
                    ),
                }
            }
            Waited::Settled(_) => Outcome::Failure {
                message: format!("saga {:?} was undone", self.id),
            },
            Waited::TimeOver | Waited::NotFound => self.ongoing(),
        })
    }

    async fn undo(&self, handle: &Handle, until: Instant) -> Result<Outcome, Failed> {
        let command = Command::Act {
            saga: self.id.clone(),
            act: Act::Undo,
            note: Note {
                by: Note::by_saga(&self.parent),
                reason: format!("step {:?} is undone", self.step),
            },
        };
        match handle.act(command).await {
            // It was never started, and never will be.
            Ok(Answer::Acted { sequence: 0, .. }) => return Ok(success()),
            Ok(_) => {}
            // Perhaps it is being undone already.
            Err(Failed::Refused(refused)) if refused.why == Why::Illegal => {
                let waited = handle.wait_for(&self.id, Instant::now(), has_ended).await?;
                if let Waited::Settled(record) = waited
                    && record.status() != Status::Undone
                {
                    return Ok(unsettled(ErrorClass::Internal, refused.message));
                }
            }
            Err(failed) => return Err(failed),
        }
        let waited = handle.wait_for(&self.id, until, is_undone).await?;
        Ok(match waited {
            Waited::Settled(_) => success(),
            Waited::TimeOver | Waited::NotFound => self.ongoing(),
        })
    }

    fn ongoing(&self) -> Outcome {
        unsettled(
            ErrorClass::Ongoing,
            format!("saga {:?} has not ended", self.id),
        )
    }
}

fn has_ended(record: &Record) -> bool {
    matches!(record.status(), Status::Completed | Status::Undone)
}

fn is_undone(record: &Record) -> bool {
    record.status() == Status::Undone
}

fn success() -> Outcome {
    Outcome::Success {
        output: Bytes::new(),
    }
}

fn unsettled(class: ErrorClass, message: String) -> Outcome {
    Outcome::Unsettled {
        class,
        message,
        retry_after_ms: None,
    }
}
