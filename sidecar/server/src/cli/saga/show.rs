//! What a person, or a program, reads of a saga.

use outrigger_proto::v1::{
    SagaDetails, SagaInfo, SagaPhase, SagaStatus, SagaStepInfo, SagaStepStatus,
};
use serde_json::{Value, json};

use super::Output;
use crate::{cli::admin::line, saga::shown::phase_name};

/// Characters of a payload that a person is shown.
const PAYLOAD_CHARACTERS_MAX: usize = 400;

pub(super) fn info(saga: &SagaInfo, output: Output) {
    if output.json {
        line(format_args!("{}", info_as_json(saga)));
        return;
    }
    summary(saga);
    if !saga.output.is_empty() {
        line(format_args!("  output: {}", words(&saga.output)));
    }
}

/// One line.
pub(super) fn summary(saga: &SagaInfo) {
    let mut told = format!(
        "{}\t{}\t{}\tbegins at {} ms",
        saga.saga_id,
        status_of(saga),
        saga.definition,
        saga.start_at_ms
    );
    if saga.deadline_at_ms > 0 {
        told += &format!("\tdeadline at {} ms", saga.deadline_at_ms);
    }
    if !saga.stuck_steps.is_empty() {
        told += &format!("\tstuck: {}", saga.stuck_steps.join(", "));
    }
    if !saga.undo_cause.is_empty() {
        told += &format!("\tundone because {}", saga.undo_cause);
    }
    line(format_args!("{told}"));
}

pub(super) fn details(details: &SagaDetails, output: Output) {
    if output.json {
        line(format_args!("{}", details_as_json(details)));
        return;
    }
    if let Some(saga) = &details.saga {
        info(saga, output);
        line(format_args!("  version: {}", saga.version));
        if !saga.parent_saga_id.is_empty() {
            line(format_args!(
                "  step {} of saga {}",
                saga.parent_step, saga.parent_saga_id
            ));
        }
    }
    if !details.input.is_empty() {
        line(format_args!("  input: {}", words(&details.input)));
    }
    line(format_args!("steps"));
    for step in &details.steps {
        line(format_args!("  {}", step_line(step)));
    }
    line(format_args!("history"));
    for entry in &details.history {
        let mut told = format!("  {}\t{} ms\t", entry.sequence, entry.at_ms);
        if !entry.step.is_empty() {
            told += &format!("{}: ", entry.step);
        }
        told += &entry.event;
        if !entry.by.is_empty() {
            told += &format!("\tby {}: {}", entry.by, entry.reason);
        }
        line(format_args!("{told}"));
    }
}

fn step_line(step: &SagaStepInfo) -> String {
    let mut told = format!("{}\t{}", step.name, step_status(step.status()));
    if step.phase() != SagaPhase::Unspecified {
        told += &format!("\t{}", phase_name(step.phase()));
    }
    if step.attempt > 0 {
        told += &format!("\tattempt {}", step.attempt);
    }
    if !step.reason.is_empty() {
        told += &format!("\t{}", step.reason);
    }
    if let Some(output) = step.output.as_ref().filter(|output| !output.is_empty()) {
        told += &format!("\toutput: {}", words(output));
    }
    told
}

pub(super) fn info_as_json(saga: &SagaInfo) -> Value {
    json!({
        "saga_id": saga.saga_id,
        "definition": saga.definition,
        "version": saga.version,
        "status": status(saga.status()),
        "parked_by_hand": saga.parked_by_hand,
        "stuck_steps": saga.stuck_steps,
        "start_at_ms": saga.start_at_ms,
        "deadline_at_ms": saga.deadline_at_ms,
        "output": payload(&saga.output),
        "undo_cause": saga.undo_cause,
        "parent_saga_id": saga.parent_saga_id,
        "parent_step": saga.parent_step,
    })
}

fn details_as_json(details: &SagaDetails) -> Value {
    let steps = details.steps.iter().map(|step| {
        json!({
            "name": step.name,
            "status": step_status(step.status()),
            "phase": match step.phase() {
                SagaPhase::Unspecified => Value::Null,
                phase => phase_name(phase).into(),
            },
            "attempt": step.attempt,
            "reason": step.reason,
            "output": step.output.as_deref().map_or(Value::Null, payload),
        })
    });
    let history = details.history.iter().map(|entry| {
        json!({
            "sequence": entry.sequence,
            "at_ms": entry.at_ms,
            "event": entry.event,
            "step": entry.step,
            "by": entry.by,
            "reason": entry.reason,
        })
    });
    json!({
        "saga": details.saga.as_ref().map_or(Value::Null, info_as_json),
        "input": payload(&details.input),
        "steps": steps.collect::<Vec<_>>(),
        "history": history.collect::<Vec<_>>(),
    })
}

/// JSON as it is, anything else as text; null when there is nothing.
fn payload(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
    serde_json::from_slice(bytes).unwrap_or_else(|_| text())
}

fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cut: String = text.chars().take(PAYLOAD_CHARACTERS_MAX).collect();
    if cut.len() < text.len() {
        return format!("{cut}… ({} bytes)", bytes.len());
    }
    cut
}

fn status_of(saga: &SagaInfo) -> &'static str {
    match (saga.status(), saga.parked_by_hand) {
        (SagaStatus::Parked, true) => "parked by hand",
        (other, _) => status(other),
    }
}

fn status(status: SagaStatus) -> &'static str {
    match status {
        SagaStatus::Unspecified => "unknown",
        SagaStatus::Running => "running",
        SagaStatus::Confirming => "confirming",
        SagaStatus::Undoing => "undoing",
        SagaStatus::Parked => "parked",
        SagaStatus::Completed => "completed",
        SagaStatus::Undone => "undone",
    }
}

fn step_status(status: SagaStepStatus) -> &'static str {
    match status {
        SagaStepStatus::Unspecified => "unknown",
        SagaStepStatus::Waiting => "waiting",
        SagaStepStatus::Calling => "calling",
        SagaStepStatus::Succeeded => "succeeded",
        SagaStepStatus::Failed => "failed",
        SagaStepStatus::Abandoned => "abandoned",
        SagaStepStatus::Stuck => "stuck",
        SagaStepStatus::Undone => "undone",
        SagaStepStatus::Confirmed => "confirmed",
    }
}
