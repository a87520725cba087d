use bytes::Bytes;
use outrigger_core::saga::{
    Phase, Record,
    definition::Mode,
    event::{Act, Event, Reason, UndoCause},
    ledger::{HistoryEntry, Kind},
    record::{Status, StepState},
};
use outrigger_proto::v1::{SagaInfo, SagaPhase, SagaStatus, SagaStepInfo, SagaStepStatus};

/// What is told of a saga. Its history, as far as it is at hand, says who had it undone.
pub(crate) fn info(record: &Record, history: &[HistoryEntry], with_output: bool) -> SagaInfo {
    let start = record.started();
    let name = |step| {
        let step = record.definition().step(step);
        step.map_or_else(String::new, |step| step.name.clone())
    };
    let output = match with_output {
        true => output(record),
        false => Bytes::new(),
    };
    let parent = start.parent.clone();
    let (parent_saga_id, parent_step) =
        parent.map_or_else(Default::default, |parent| (parent.saga, parent.step));
    SagaInfo {
        saga_id: start.saga.clone(),
        definition: start.definition.clone(),
        version: start.version.to_string(),
        status: status(record).into(),
        parked_by_hand: matches!(record.status(), Status::Parked { by_hand: true, .. }),
        stuck_steps: record.stuck().map(name).collect(),
        start_at_ms: start.start_at_ms,
        deadline_at_ms: start.deadline_at_ms.unwrap_or(0),
        output,
        undo_cause: undo_cause(record, history).unwrap_or_default(),
        parent_saga_id,
        parent_step,
    }
}

fn output(record: &Record) -> Bytes {
    match record.result() {
        Ok(output) => output.unwrap_or_default(),
        Err(error) => {
            let saga = &record.started().saga;
            tracing::warn!(saga, %error, "the output of a completed saga cannot be made");
            Bytes::new()
        }
    }
}

fn status(record: &Record) -> SagaStatus {
    match Kind::of(record.status()) {
        Kind::Running => SagaStatus::Running,
        Kind::Confirming => SagaStatus::Confirming,
        Kind::Undoing => SagaStatus::Undoing,
        Kind::Parked => SagaStatus::Parked,
        Kind::Completed => SagaStatus::Completed,
        Kind::Undone => SagaStatus::Undone,
    }
}

/// What sagas with a status are asked for by.
pub(crate) fn kind(status: SagaStatus) -> Option<Kind> {
    Some(match status {
        SagaStatus::Unspecified => return None,
        SagaStatus::Running => Kind::Running,
        SagaStatus::Confirming => Kind::Confirming,
        SagaStatus::Undoing => Kind::Undoing,
        SagaStatus::Parked => Kind::Parked,
        SagaStatus::Completed => Kind::Completed,
        SagaStatus::Undone => Kind::Undone,
    })
}

fn undo_cause(record: &Record, history: &[HistoryEntry]) -> Option<String> {
    Some(match record.undo_cause()? {
        UndoCause::Step(step) => {
            let name = record.definition().step(step).map(|step| &step.name);
            let name = name.map(String::as_str).unwrap_or_default();
            let why = record.step(step).and_then(|step| step.reason());
            match why {
                Some(why) => format!("step {name:?} {}", reason(why)),
                None => format!("step {name:?} failed"),
            }
        }
        UndoCause::Deadline => "the deadline is over".to_owned(),
        UndoCause::ByHand => {
            let by = history.iter().find_map(|entry| match &entry.event {
                Event::ByHand {
                    act: Act::Undo,
                    note,
                } => Some(format!("{} wanted it: {}", note.by, note.reason)),
                _ => None,
            });
            by.unwrap_or_else(|| "somebody wanted it".to_owned())
        }
    })
}

/// Why a step failed, was given up or is stuck.
pub(super) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Refused { message } => format!("was refused: {message}"),
        Reason::Exhausted { class, message } => {
            let class = class.name();
            format!("was tried as often as allowed; last {class}: {message}")
        }
        Reason::OutputTooLarge { bytes, limit } => {
            format!("gave back {bytes} bytes, at most {limit} are allowed")
        }
        Reason::Undoing => "was under way when undoing began".to_owned(),
    }
}

/// The steps of a saga, each after those that it depends on.
pub(crate) fn steps(record: &Record) -> Vec<SagaStepInfo> {
    let mode = record.definition().mode();
    let steps = record.definition().steps().iter().zip(record.steps());
    let steps = steps.map(|(step, known)| {
        let (status, phase) = step_status(known.state());
        let phase = phase.map_or(SagaPhase::Unspecified, |phase| phase_to(mode, phase));
        SagaStepInfo {
            name: step.name.clone(),
            status: status.into(),
            phase: phase.into(),
            attempt: known.attempt(),
            reason: known.reason().map(reason).unwrap_or_default(),
            output: known.output().cloned(),
        }
    });
    steps.collect()
}

fn step_status(state: StepState) -> (SagaStepStatus, Option<Phase>) {
    match state {
        StepState::Waiting => (SagaStepStatus::Waiting, None),
        StepState::Calling(phase) => (SagaStepStatus::Calling, Some(phase)),
        StepState::Succeeded => (SagaStepStatus::Succeeded, None),
        StepState::Failed { .. } => (SagaStepStatus::Failed, None),
        StepState::Abandoned => (SagaStepStatus::Abandoned, None),
        StepState::Stuck { phase, .. } => (SagaStepStatus::Stuck, Some(phase)),
        StepState::Undone => (SagaStepStatus::Undone, None),
        StepState::Confirmed => (SagaStepStatus::Confirmed, None),
    }
}

/// What participants and people call a phase.
pub(crate) fn phase_to(mode: Mode, phase: Phase) -> SagaPhase {
    match (mode, phase) {
        (Mode::Saga, Phase::Action) => SagaPhase::Action,
        (Mode::Saga, Phase::Undo) => SagaPhase::Undo,
        (Mode::Tcc, Phase::Action) => SagaPhase::Try,
        (Mode::Tcc, Phase::Undo) => SagaPhase::Cancel,
        // Only TCC has it.
        (Mode::Saga | Mode::Tcc, Phase::Confirm) => SagaPhase::Confirm,
    }
}

/// The phase that somebody names, in the words of a saga or of TCC.
pub(crate) fn phase_from(phase: SagaPhase) -> Option<Phase> {
    match phase {
        SagaPhase::Unspecified => None,
        SagaPhase::Action | SagaPhase::Try => Some(Phase::Action),
        SagaPhase::Undo | SagaPhase::Cancel => Some(Phase::Undo),
        SagaPhase::Confirm => Some(Phase::Confirm),
    }
}

/// A phase in words.
pub(crate) fn phase_name(phase: SagaPhase) -> &'static str {
    match phase {
        SagaPhase::Unspecified => "unknown",
        SagaPhase::Action => "action",
        SagaPhase::Undo => "undo",
        SagaPhase::Try => "try",
        SagaPhase::Confirm => "confirm",
        SagaPhase::Cancel => "cancel",
    }
}
