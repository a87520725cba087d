use std::collections::{BTreeMap, BTreeSet};

use outrigger_proto::v1::{
    SagaCall, SagaDefinition, SagaMode, SagaStep, saga_call, saga_step::UndoOrNothing,
};

use super::DefinitionError;

/// Longest name of a definition.
const DEFINITION_CHARACTERS_MAX: usize = 120;
/// Longest name of a step.
const STEP_CHARACTERS_MAX: usize = 64;
/// Most steps.
const STEPS_COUNT_MAX: usize = 128;
/// Longest deadline.
const DEADLINE_MS_MAX: u64 = 365 * 24 * 3_600_000;
/// The most that a definition may allow for one payload.
const PAYLOAD_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long one call may take.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// Checks a definition, as far as that needs nothing but the definition.
///
/// # Errors
/// The first fault found, in the words of the sidecar; it names the step and the field.
pub fn check(definition: &SagaDefinition) -> Result<(), DefinitionError> {
    let name = check_name(&definition.name, DEFINITION_CHARACTERS_MAX);
    name.map_err(|fault| DefinitionError::Name { fault })?;
    let (count, limit) = (definition.steps.len(), STEPS_COUNT_MAX);
    if count == 0 || count > limit {
        return Err(DefinitionError::StepsCount { count, limit });
    }
    // Zero stands for the default.
    at_most("deadline_ms", definition.deadline_ms, DEADLINE_MS_MAX)?;
    let payload = definition.payload_bytes_max.into();
    at_most("payload_bytes_max", payload, PAYLOAD_BYTES_MAX)?;

    let mut names = BTreeSet::new();
    for SagaStep { name: step, .. } in &definition.steps {
        let step = step.clone();
        if let Err(fault) = check_name(&step, STEP_CHARACTERS_MAX) {
            let step = step.chars().take(STEP_CHARACTERS_MAX).collect();
            return Err(DefinitionError::StepName { step, fault });
        }
        if !names.insert(step.clone()) {
            return Err(DefinitionError::DuplicateName { step });
        }
    }
    for step in &definition.steps {
        if let Some(dependency) = step.depends_on.iter().find(|d| !names.contains(*d)) {
            return Err(DefinitionError::UnknownDependency {
                step: step.name.clone(),
                dependency: dependency.clone(),
            });
        }
    }
    let steps = sorted(&definition.steps)?;
    let before = before(&steps);
    let tcc = definition.mode() == SagaMode::Tcc;
    let pivot = check_pivot(tcc, &steps, &before)?;
    steps.iter().try_for_each(|step| {
        let earlier = before.get(step.name.as_str());
        let after = pivot.filter(|p| earlier.is_some_and(|b| b.contains(p)));
        check_step(tcc, step, after)
    })
}

fn at_most(field: &'static str, value: u64, most: u64) -> Result<(), DefinitionError> {
    let least = 1;
    match value > most {
        true => Err(DefinitionError::Range {
            field,
            value,
            least,
            most,
        }),
        false => Ok(()),
    }
}

fn check_name(name: &str, limit: usize) -> Result<(), String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '.');
    if name.is_empty() {
        return Err("name is empty".to_owned());
    }
    if let Some(character) = name.chars().find(|c| !allowed(c)) {
        return Err(format!(
            "name has the character {character:?}; letters a-z and A-Z, digits, `_`, `-`, `%` and `.` are allowed"
        ));
    }
    match name.len() {
        characters if characters > limit => Err(format!(
            "name has {characters} characters, at most {limit} are allowed"
        )),
        _ => Ok(()),
    }
}

/// The steps, each after those that it depends on, otherwise by name.
fn sorted(steps: &[SagaStep]) -> Result<Vec<&SagaStep>, DefinitionError> {
    let named = steps.iter().map(|step| (step.name.as_str(), step));
    let mut waiting: BTreeMap<&str, &SagaStep> = named.collect();
    let mut sorted = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let waits = |d: &String| waiting.contains_key(d.as_str());
        let mut steps = waiting.values();
        match steps
            .find(|step| !step.depends_on.iter().any(waits))
            .copied()
        {
            Some(next) => {
                waiting.remove(next.name.as_str());
                sorted.push(next);
            }
            None => {
                let path = cycle(&waiting);
                return Err(DefinitionError::Cycle { path });
            }
        }
    }
    Ok(sorted)
}

/// Every step that is left waits for another one that is left.
fn cycle(waiting: &BTreeMap<&str, &SagaStep>) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut at = waiting.values().next().copied();
    while let Some(step) = at {
        if let Some(start) = path.iter().position(|seen| *seen == step.name) {
            path.drain(..start);
            path.push(step.name.clone());
            break;
        }
        path.push(step.name.clone());
        // In the order of the sidecar's words: as they are written.
        let mut dependencies = step.depends_on.iter();
        at = dependencies.find_map(|d| waiting.get(d.as_str()).copied());
    }
    path
}

/// For every step all that surely come before it.
fn before<'a>(steps: &[&'a SagaStep]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for step in steps {
        let mut own = BTreeSet::new();
        for dependency in &step.depends_on {
            own.insert(dependency.as_str());
            own.extend(before.get(dependency.as_str()).into_iter().flatten());
        }
        before.insert(&step.name, own);
    }
    before
}

fn check_pivot<'a>(
    tcc: bool,
    steps: &[&'a SagaStep],
    before: &BTreeMap<&str, BTreeSet<&str>>,
) -> Result<Option<&'a str>, DefinitionError> {
    let mut pivots = steps.iter().filter(|step| step.pivot);
    let Some(pivot) = pivots.next().map(|step| step.name.as_str()) else {
        return Ok(None);
    };
    if tcc {
        let step = pivot.to_owned();
        return Err(DefinitionError::PivotInTcc { step });
    }
    if let Some(second) = pivots.next() {
        return Err(DefinitionError::SecondPivot {
            step: second.name.clone(),
            pivot: pivot.to_owned(),
        });
    }
    let comes_before = |one: &str, other: &str| before.get(other).is_some_and(|b| b.contains(one));
    let beside = steps
        .iter()
        .map(|step| step.name.as_str())
        .find(|step| *step != pivot && !comes_before(step, pivot) && !comes_before(pivot, step));
    match beside {
        None => Ok(Some(pivot)),
        Some(step) => Err(DefinitionError::BesidePivot {
            step: step.to_owned(),
            pivot: pivot.to_owned(),
        }),
    }
}

fn check_step(
    tcc: bool,
    from: &SagaStep,
    after_pivot: Option<&str>,
) -> Result<(), DefinitionError> {
    let step = || from.name.clone();
    let sub_saga = from.action.as_ref().is_some_and(is_saga);
    let sub_saga_fault = |field| DefinitionError::SubSaga {
        step: step(),
        field,
    };
    if tcc && sub_saga {
        return Err(sub_saga_fault("action"));
    }
    check_call(from, "action", from.action.as_ref())?;
    let field = if tcc { "cancel" } else { "undo" };
    match (&from.undo_or_nothing, after_pivot) {
        (Some(UndoOrNothing::Undo(_)), Some(pivot)) => {
            return Err(DefinitionError::UndoAfterPivot {
                step: step(),
                pivot: pivot.to_owned(),
            });
        }
        (Some(UndoOrNothing::Undo(_)), None) if sub_saga => return Err(sub_saga_fault("undo")),
        (Some(UndoOrNothing::Undo(undo)), None) if is_saga(undo) => {
            return Err(sub_saga_fault(field));
        }
        (Some(UndoOrNothing::Undo(undo)), None) => check_call(from, field, Some(undo))?,
        (None, None) if !from.pivot && !sub_saga => {
            return Err(DefinitionError::MissingUndo { step: step() });
        }
        (None | Some(UndoOrNothing::NothingToUndo(_)), _) => {}
    }
    match (tcc, &from.confirm) {
        (true, None) => Err(DefinitionError::MissingConfirm { step: step() }),
        (false, Some(_)) => Err(DefinitionError::ConfirmInSaga { step: step() }),
        (true, Some(confirm)) if is_saga(confirm) => Err(sub_saga_fault("confirm")),
        (_, confirm) => check_call(from, "confirm", confirm.as_ref()),
    }
}

fn check_call(
    step: &SagaStep,
    field: &'static str,
    call: Option<&SagaCall>,
) -> Result<(), DefinitionError> {
    // Zero stands for the default.
    let value = call.map_or(0, |call| call.timeout_ms);
    if value == 0 || TIMEOUT_MS.contains(&value) {
        return Ok(());
    }
    Err(DefinitionError::Timeout {
        step: step.name.clone(),
        field,
        value,
        least: *TIMEOUT_MS.start(),
        most: *TIMEOUT_MS.end(),
    })
}

fn is_saga(call: &SagaCall) -> bool {
    matches!(call.target, Some(saga_call::Target::Saga(_)))
}
