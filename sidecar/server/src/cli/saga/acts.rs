use std::process::ExitCode;

use outrigger_proto::v1::{
    EditSagaInputRequest, ParkSagaRequest, ResumeSagaRequest, RetrySagaStepRequest, SagaPhase,
    SkipSagaStepRequest, UndoSagaRequest,
};

use super::{
    Output, Sagas,
    arguments::{Act, ActOnStep, Edit, Skip},
    sagas::payload,
    show,
};
use crate::cli::admin::told;

pub(super) async fn retry(
    sagas: &mut Sagas,
    act: ActOnStep,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let request = RetrySagaStepRequest {
        by: act.note.by(),
        saga_id: act.id,
        step: act.step,
        reason: act.note.reason,
    };
    show::info(&told(sagas.retry(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn skip(
    sagas: &mut Sagas,
    skip: Skip,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let stand_in = payload(skip.output, skip.output_file.as_deref())?;
    let request = SkipSagaStepRequest {
        by: skip.act.note.by(),
        saga_id: skip.act.id,
        step: skip.act.step,
        reason: skip.act.note.reason,
        output: stand_in.unwrap_or_default().into(),
    };
    show::info(&told(sagas.skip(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn edit(
    sagas: &mut Sagas,
    edit: Edit,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let input = payload(edit.input, edit.input_file.as_deref())?;
    let phase = edit.phase.map_or(SagaPhase::Unspecified, SagaPhase::from);
    let request = EditSagaInputRequest {
        by: edit.act.note.by(),
        saga_id: edit.act.id,
        step: edit.act.step,
        reason: edit.act.note.reason,
        phase: phase.into(),
        input: input.unwrap_or_default().into(),
    };
    show::info(&told(sagas.edit_input(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn undo(sagas: &mut Sagas, act: Act, output: Output) -> anyhow::Result<ExitCode> {
    let request = UndoSagaRequest {
        by: act.note.by(),
        saga_id: act.id,
        reason: act.note.reason,
    };
    show::info(&told(sagas.undo(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn park(sagas: &mut Sagas, act: Act, output: Output) -> anyhow::Result<ExitCode> {
    let request = ParkSagaRequest {
        by: act.note.by(),
        saga_id: act.id,
        reason: act.note.reason,
    };
    show::info(&told(sagas.park(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(
    sagas: &mut Sagas,
    act: Act,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let request = ResumeSagaRequest {
        by: act.note.by(),
        saga_id: act.id,
        reason: act.note.reason,
    };
    show::info(&told(sagas.resume(request).await)?, output);
    Ok(ExitCode::SUCCESS)
}
