use bytes::Bytes;
use outrigger_core::{
    limits::SAGA_MESSAGE_CHARACTERS_MAX,
    saga::{
        Phase, Record, StepIndex,
        event::{Act, Note},
        ledger::{Answer, Command, Reported},
        record::{Stage, Status as SagaStatus, StepState},
    },
};
use outrigger_proto::v1::{
    self, EditSagaInputRequest, ParkSagaRequest, ReportSagaStepRequest, ResumeSagaRequest,
    RetrySagaStepRequest, SagaInfo, SkipSagaStepRequest, UndoSagaRequest,
    report_saga_step_request::Outcome,
};
use tonic::Status;

use super::{Opened, check, define::unexpected, failure};
use crate::{
    edge::status::Failure,
    saga::{shown::phase_from, store::Store as _},
};

impl Opened {
    pub(super) async fn retry(&self, request: RetrySagaStepRequest) -> Result<SagaInfo, Status> {
        let note = check::note(request.by, request.reason)?;
        let (saga, step) = (check::saga_id(request.saga_id)?, request.step);
        let record = self.saga(&saga).await?.record;
        let index = index(&record, &step)?;
        self.act(saga, Act::Retry { step: index }, note, &step)
            .await
    }

    pub(super) async fn skip(&self, request: SkipSagaStepRequest) -> Result<SagaInfo, Status> {
        let note = check::note(request.by, request.reason)?;
        let (saga, step) = (check::saga_id(request.saga_id)?, request.step);
        let record = self.saga(&saga).await?.record;
        let index = index(&record, &step)?;
        let phase = phase_of(&record, index);
        let output = match phase {
            Phase::Action => request.output,
            Phase::Undo | Phase::Confirm => Bytes::new(),
        };
        let bytes_max = record.definition().payload_bytes_max();
        check::payload("SAGA_OUTPUT_TOO_LARGE", "output", output.len(), bytes_max)?;
        let act = Act::Skip {
            step: index,
            phase,
            output,
        };
        self.act(saga, act, note, &step).await
    }

    pub(super) async fn edit_input(
        &self,
        request: EditSagaInputRequest,
    ) -> Result<SagaInfo, Status> {
        let named = phase(request.phase)?;
        let note = check::note(request.by, request.reason)?;
        let (saga, step, input) = (
            check::saga_id(request.saga_id)?,
            request.step,
            request.input,
        );
        let record = self.saga(&saga).await?.record;
        let index = index(&record, &step)?;
        let bytes_max = record.definition().payload_bytes_max();
        check::payload("SAGA_INPUT_TOO_LARGE", "input", input.len(), bytes_max)?;
        let act = Act::EditInput {
            step: index,
            phase: named.unwrap_or_else(|| phase_of(&record, index)),
            input,
        };
        self.act(saga, act, note, &step).await
    }

    pub(super) async fn undo(&self, request: UndoSagaRequest) -> Result<SagaInfo, Status> {
        let note = check::note(request.by, request.reason)?;
        let saga = check::saga_id(request.saga_id)?;
        self.act(saga, Act::Undo, note, "").await
    }

    pub(super) async fn park(&self, request: ParkSagaRequest) -> Result<SagaInfo, Status> {
        let note = check::note(request.by, request.reason)?;
        let saga = check::saga_id(request.saga_id)?;
        self.act(saga, Act::Park, note, "").await
    }

    pub(super) async fn resume(&self, request: ResumeSagaRequest) -> Result<SagaInfo, Status> {
        let note = check::note(request.by, request.reason)?;
        let saga = check::saga_id(request.saga_id)?;
        self.act(saga, Act::Resume, note, "").await
    }

    async fn act(
        &self,
        saga: String,
        act: Act,
        note: Note,
        step: &str,
    ) -> Result<SagaInfo, Status> {
        let done = name(&act);
        let Note { by, reason } = note.clone();
        let command = Command::Act {
            saga: saga.clone(),
            act,
            note,
        };
        self.record(&saga, command).await?;
        tracing::warn!(
            saga,
            act = done,
            step,
            by,
            reason,
            "a person acted on a saga"
        );
        self.info(&saga).await
    }

    pub(super) async fn report(&self, request: ReportSagaStepRequest) -> Result<SagaInfo, Status> {
        let saga = check::saga_id(request.saga_id)?;
        let phase = phase(request.phase)?.ok_or_else(|| {
            let allowed = "ACTION, UNDO, TRY, CONFIRM or CANCEL";
            Failure::invalid("ILLEGAL_PHASE", "phase", "unspecified", allowed)
        })?;
        let outcome = request.outcome.ok_or_else(|| {
            let allowed = "success or failure";
            Failure::invalid("ILLEGAL_OUTCOME", "outcome", "missing", allowed)
        })?;
        let record = self.saga(&saga).await?.record;
        index(&record, &request.step)?;
        let outcome = match outcome {
            Outcome::Success(v1::SagaStepSuccess { output }) => {
                let bytes_max = record.definition().payload_bytes_max();
                let bytes = output.len();
                check::payload("SAGA_OUTPUT_TOO_LARGE", "success.output", bytes, bytes_max)?;
                Reported::Success { output }
            }
            Outcome::Failure(v1::SagaStepFailure { message }) => {
                let characters = message.chars().count();
                if characters > SAGA_MESSAGE_CHARACTERS_MAX {
                    let allowed = format_args!("at most {SAGA_MESSAGE_CHARACTERS_MAX} characters");
                    let (code, field) = ("MESSAGE_TOO_LONG", "failure.message");
                    return Err(Failure::invalid(code, field, message, allowed).into());
                }
                Reported::Failure { message }
            }
        };
        let command = Command::Report {
            saga: saga.clone(),
            step: request.step,
            phase,
            outcome,
        };
        self.record(&saga, command).await?;
        self.info(&saga).await
    }

    /// Records what somebody else than its owner has to say of a saga, and lets the owner know
    /// if it is this process. Any other hears of it in a moment.
    async fn record(&self, saga: &str, command: Command) -> Result<(), Status> {
        let group = self.store.placement().saga(saga);
        let answers = self.store.carry_out(group, vec![command]).await?;
        match answers.into_iter().next() {
            Some(Ok(Answer::Acted { owner, .. })) => {
                let is_here = owner.is_none_or(|owner| owner == self.executor.owner());
                if is_here {
                    self.executor.poke(saga);
                }
                Ok(())
            }
            Some(Err(refused)) => Err(Failure::from(refused).into()),
            other => Err(unexpected(&other).into()),
        }
    }
}

fn index(record: &Record, step: &str) -> Result<StepIndex, Failure> {
    let index = record.definition().index_of(step);
    index.ok_or_else(|| failure::no_step(&record.started().saga, step))
}

fn phase(number: i32) -> Result<Option<Phase>, Failure> {
    match v1::SagaPhase::try_from(number) {
        Ok(phase) => Ok(phase_from(phase)),
        Err(_) => {
            let allowed = "ACTION, UNDO, TRY, CONFIRM or CANCEL";
            Err(Failure::invalid("ILLEGAL_PHASE", "phase", number, allowed))
        }
    }
}

/// What a step is called for, or would be as the saga is now.
fn phase_of(record: &Record, step: StepIndex) -> Phase {
    match record.step(step).map(|step| step.state()) {
        Some(StepState::Calling(phase) | StepState::Stuck { phase, .. }) => phase,
        _ => match record.status() {
            SagaStatus::Working(stage) | SagaStatus::Parked { stage, .. } => match stage {
                Stage::Forward => Phase::Action,
                Stage::Confirm => Phase::Confirm,
                Stage::Undo => Phase::Undo,
            },
            SagaStatus::Completed | SagaStatus::Undone => Phase::Action,
        },
    }
}

fn name(act: &Act) -> &'static str {
    match act {
        Act::Retry { .. } => "retry",
        Act::Skip { .. } => "skip",
        Act::EditInput { .. } => "edit",
        Act::Undo => "undo",
        Act::Park => "park",
        Act::Resume => "resume",
    }
}
