use std::{io::Read as _, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use outrigger_proto::v1::{
    GetSagaRequest, ListSagasRequest, SagaInfo, SagaStatus, StartSagaRequest, WaitSagaRequest,
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Output, Sagas,
    arguments::{List, Start, Wait},
    exit_code, show,
};
use crate::cli::admin::{line, told};

/// What one call waits at most.
const WAIT_MS_MAX: u64 = 60_000;
/// What one page has at most.
const PAGE_MAX: u32 = 1_000;

pub(super) async fn start(
    sagas: &mut Sagas,
    arguments: Start,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let input = payload(arguments.input, arguments.input_file.as_deref())?;
    let id = arguments.id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let request = StartSagaRequest {
        saga_id: id.clone(),
        definition: arguments.definition,
        version: arguments.version,
        input: input.unwrap_or_default().into(),
        start_at_ms: arguments.at_ms,
        wait_ms: 0,
    };
    let started = told(sagas.start(request).await)?;
    let Some(seconds) = arguments.wait else {
        show::info(&started, output);
        return Ok(ExitCode::SUCCESS);
    };
    let ended = wait_for(sagas, id, seconds).await?;
    show::info(&ended, output);
    Ok(exit_code(&ended))
}

pub(super) async fn wait(
    sagas: &mut Sagas,
    arguments: Wait,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let ended = wait_for(sagas, arguments.id, arguments.seconds).await?;
    show::info(&ended, output);
    Ok(exit_code(&ended))
}

async fn wait_for(sagas: &mut Sagas, id: String, seconds: u64) -> anyhow::Result<SagaInfo> {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        let left_ms = u64::try_from(left).unwrap_or(u64::MAX);
        let request = WaitSagaRequest {
            saga_id: id.clone(),
            wait_ms: left_ms.min(WAIT_MS_MAX),
        };
        let saga = told(sagas.wait(request).await)?;
        let is_settled = match saga.status() {
            SagaStatus::Parked | SagaStatus::Completed | SagaStatus::Undone => true,
            SagaStatus::Unspecified
            | SagaStatus::Running
            | SagaStatus::Confirming
            | SagaStatus::Undoing => false,
        };
        if is_settled || left_ms == 0 {
            return Ok(saga);
        }
    }
}

pub(super) async fn list(
    sagas: &mut Sagas,
    arguments: List,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let statuses = arguments.status.into_iter().map(SagaStatus::from);
    let statuses: Vec<i32> = statuses.map(i32::from).collect();
    let (mut listed, mut page_token) = (Vec::new(), arguments.page);
    let limit = arguments.limit.max(1);
    loop {
        let count = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        let request = ListSagasRequest {
            definition: arguments.definition.clone(),
            statuses: statuses.clone(),
            stuck: arguments.stuck,
            limit: limit.saturating_sub(count).min(PAGE_MAX),
            page_token,
        };
        let page = told(sagas.list(request).await)?;
        page_token = page.next_page_token;
        listed.extend(page.sagas);
        if page_token.is_empty() || listed.len() >= limit as usize {
            break;
        }
    }
    if output.json {
        let sagas: Vec<_> = listed.iter().map(show::info_as_json).collect();
        let listed = json!({ "sagas": sagas, "next_page_token": page_token });
        line(format_args!("{listed}"));
        return Ok(ExitCode::SUCCESS);
    }
    for saga in &listed {
        show::summary(saga);
    }
    if !page_token.is_empty() {
        line(format_args!("there are more: --page {page_token}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(
    sagas: &mut Sagas,
    id: String,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let details = told(sagas.get(GetSagaRequest { saga_id: id }).await)?;
    show::details(&details, output);
    Ok(ExitCode::SUCCESS)
}

/// A payload from the command line or from a file.
pub(super) fn payload(
    text: Option<String>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Vec<u8>>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.into_bytes())),
        (None, Some(file)) => read(file).map(Some),
        (None, None) => Ok(None),
    }
}

/// A file, or standard input for `-`.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}
