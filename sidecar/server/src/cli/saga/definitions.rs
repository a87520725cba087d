use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use outrigger_proto::v1::{DefineSagaRequest, DefinedSaga, ListSagaDefinitionsRequest, SagaMode};
use serde_json::{Value, json};

use super::{
    Output, Sagas,
    arguments::{Define, Definitions},
    sagas::read,
};
use crate::{
    cli::admin::{line, told},
    saga::definition_file,
};

pub(super) async fn define(
    sagas: &mut Sagas,
    arguments: Define,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut defined = Vec::new();
    for file in &arguments.files {
        let answer = define_one(sagas, file).await;
        let answer = answer.with_context(|| file.display().to_string())?;
        if !output.json {
            let was_there = if answer.created {
                ""
            } else {
                "\twas there already"
            };
            line(format_args!(
                "{}\t{}{was_there}",
                answer.name, answer.version
            ));
        }
        defined.push(json!({
            "name": answer.name,
            "version": answer.version,
            "created": answer.created,
        }));
    }
    if output.json {
        line(format_args!("{}", Value::Array(defined)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn define_one(
    sagas: &mut Sagas,
    file: &Path,
) -> anyhow::Result<outrigger_proto::v1::DefineSagaResponse> {
    let text = String::from_utf8(read(file)?).context("the file is not UTF-8")?;
    let request = DefineSagaRequest {
        definition: Some(definition_file::parse(&text)?),
    };
    told(sagas.define(request).await)
}

pub(super) async fn list(
    sagas: &mut Sagas,
    arguments: Definitions,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let name = arguments.name.unwrap_or_default();
    let request = ListSagaDefinitionsRequest { name };
    let definitions = told(sagas.list_definitions(request).await)?.definitions;
    if output.json {
        let all = definitions.iter().map(as_json).collect();
        line(format_args!("{}", Value::Array(all)));
        return Ok(ExitCode::SUCCESS);
    }
    for one in &definitions {
        let definition = one.definition.clone().unwrap_or_default();
        let (name, version) = (&definition.name, &one.version);
        let latest = if one.latest { "\tlatest" } else { "" };
        let (mode, steps) = (mode(definition.mode()), definition.steps.len());
        line(format_args!(
            "{name}\t{version}\t{mode}\t{steps} steps\tdefined at {} ms{latest}",
            one.defined_at_ms
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(one: &DefinedSaga) -> Value {
    let definition = one.definition.clone().unwrap_or_default();
    let steps = definition.steps.iter().map(|step| {
        json!({
            "name": step.name,
            "depends_on": step.depends_on,
            "pivot": step.pivot,
        })
    });
    json!({
        "name": definition.name,
        "version": one.version,
        "latest": one.latest,
        "defined_at_ms": one.defined_at_ms,
        "mode": mode(definition.mode()),
        "steps": steps.collect::<Vec<_>>(),
        "deadline_ms": definition.deadline_ms,
        "payload_bytes_max": definition.payload_bytes_max,
    })
}

fn mode(mode: SagaMode) -> &'static str {
    match mode {
        SagaMode::Saga => "saga",
        SagaMode::Tcc => "tcc",
    }
}
