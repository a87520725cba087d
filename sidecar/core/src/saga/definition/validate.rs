use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Attempts, Definition, Delivery, Draft, DraftStep, Error, Mode, RetryPolicy, Step,
    Target, TargetFault, Undo, Version, codec,
};
use crate::{
    limits::{
        GROUP_CHARACTERS_MAX, SAGA_ADDRESS_CHARACTERS_MAX, SAGA_CALL_TIMEOUT_MS_MAX,
        SAGA_CALL_TIMEOUT_MS_MIN, SAGA_DEADLINE_MS_MAX, SAGA_DEFINITION_BYTES_MAX,
        SAGA_DELIVERIES_COUNT_MAX, SAGA_PAYLOAD_BYTES_MAX, SAGA_RETRY_MS_MAX,
        SAGA_STEP_CHARACTERS_MAX, SAGA_STEPS_COUNT_MAX, TAG_CHARACTERS_MAX,
    },
    name,
    saga::{StepIndex, mapping::Source},
};

/// Checks a draft, and puts its content into the one form that it has.
pub(super) fn check(draft: Draft) -> Result<Definition, Error> {
    check_whole(&draft)?;
    let names = check_names(&draft.steps)?;
    check_dependencies(&draft.steps, &names)?;
    let steps = sorted(draft.steps)?;
    let before = ancestors(&steps);
    let pivot = check_pivot(draft.mode, &steps, &before)?;
    check_output(&draft.output, &names)?;

    let mut checked = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let after_pivot = pivot.is_some_and(|p| before.get(at).is_some_and(|b| b.contains(&p)));
        let known: BTreeSet<&str> = names_of(&steps, before.get(at));
        checked.push(check_step(
            draft.mode,
            step,
            &steps,
            pivot,
            after_pivot,
            &known,
        )?);
    }
    for at in 0..checked.len() {
        let Some(depends_on) = checked.get(at).map(|step| step.depends_on.clone()) else {
            continue;
        };
        for dependency in depends_on {
            if let Some(dependency) = checked.get_mut(usize::from(dependency)) {
                dependency.dependents.push(index(at));
            }
        }
    }

    let mut definition = Definition {
        name: draft.name,
        version: Version(0),
        encoded: bytes::Bytes::new(),
        mode: draft.mode,
        steps: checked,
        pivot: pivot.map(index),
        deadline_ms: draft.deadline_ms,
        output: draft.output,
        deliveries: draft.deliveries,
        payload_bytes_max: draft.payload_bytes_max,
    };
    definition.encoded = codec::encode(&definition);
    definition.version = Version::of(&definition.encoded);
    let (bytes, limit) = (definition.encoded.len(), SAGA_DEFINITION_BYTES_MAX);
    if bytes > limit {
        return Err(Error::TooLarge { bytes, limit });
    }
    Ok(definition)
}

fn check_whole(draft: &Draft) -> Result<(), Error> {
    name::check_group("name", &draft.name)?;
    let (count, limit) = (draft.steps.len(), SAGA_STEPS_COUNT_MAX);
    if count == 0 || count > limit {
        return Err(Error::StepsCount { count, limit });
    }
    let range = |field, value: u64, most| match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(Error::Range {
            field,
            value,
            least: 1,
            most,
        }),
    };
    if let Some(deadline_ms) = draft.deadline_ms {
        range("deadline_ms", deadline_ms, SAGA_DEADLINE_MS_MAX)?;
    }
    let payload_most = u64::from(SAGA_PAYLOAD_BYTES_MAX);
    range(
        "payload_bytes_max",
        draft.payload_bytes_max.into(),
        payload_most,
    )?;
    let (count, limit) = (draft.deliveries.len(), SAGA_DELIVERIES_COUNT_MAX);
    if count > limit {
        let fault = TargetFault::Count { count, limit };
        return Err(Error::Delivery { fault });
    }
    for delivery in &draft.deliveries {
        let checked = match delivery {
            Delivery::Webhook { url } => check_url(url),
            Delivery::Message { topic, tag } => check_message(topic, tag),
        };
        checked.map_err(|fault| Error::Delivery { fault })?;
    }
    Ok(())
}

fn check_names(steps: &[DraftStep]) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for DraftStep { name: step, .. } in steps {
        let checked = name::check("name", step, SAGA_STEP_CHARACTERS_MAX);
        checked.map_err(|fault| Error::StepName {
            step: step.chars().take(SAGA_STEP_CHARACTERS_MAX).collect(),
            fault,
        })?;
        if !names.insert(step.clone()) {
            return Err(Error::DuplicateName { step: step.clone() });
        }
    }
    Ok(names)
}

fn check_dependencies(steps: &[DraftStep], names: &BTreeSet<String>) -> Result<(), Error> {
    for step in steps {
        let mut seen = BTreeSet::new();
        for dependency in &step.depends_on {
            let (step, dependency) = (step.name.clone(), dependency.clone());
            if !names.contains(&dependency) {
                return Err(Error::UnknownDependency { step, dependency });
            }
            if !seen.insert(dependency.clone()) {
                return Err(Error::DuplicateDependency { step, dependency });
            }
        }
    }
    Ok(())
}

/// The steps, each after those that it depends on, otherwise by name.
fn sorted(steps: Vec<DraftStep>) -> Result<Vec<DraftStep>, Error> {
    let mut waiting: BTreeMap<String, DraftStep> = steps
        .into_iter()
        .map(|step| (step.name.clone(), step))
        .collect();
    let mut sorted = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = |step: &DraftStep| !step.depends_on.iter().any(|d| waiting.contains_key(d));
        let next = waiting.values().find(|step| free(step));
        let Some(name) = next.map(|step| step.name.clone()) else {
            return Err(Error::Cycle {
                path: cycle(&waiting),
            });
        };
        sorted.extend(waiting.remove(&name));
    }
    Ok(sorted)
}

/// Every step that is left waits for another one that is left; following them comes back to
/// where one has been.
fn cycle(waiting: &BTreeMap<String, DraftStep>) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut at = waiting.keys().next().cloned();
    while let Some(name) = at {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            path.drain(..start);
            path.push(name);
            break;
        }
        let waits_for = waiting.get(&name).map(|step| &step.depends_on);
        let mut waits_for = waits_for.into_iter().flatten();
        at = waits_for.find(|d| waiting.contains_key(*d)).cloned();
        path.push(name);
    }
    path
}

/// For every step all that surely come before it.
fn ancestors(steps: &[DraftStep]) -> Vec<BTreeSet<usize>> {
    let places: BTreeMap<&str, usize> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| (step.name.as_str(), at))
        .collect();
    let mut before: Vec<BTreeSet<usize>> = Vec::with_capacity(steps.len());
    for step in steps {
        let mut own = BTreeSet::new();
        for dependency in &step.depends_on {
            if let Some(&at) = places.get(dependency.as_str()) {
                own.insert(at);
                own.extend(before.get(at).into_iter().flatten());
            }
        }
        before.push(own);
    }
    before
}

fn names_of<'a>(steps: &'a [DraftStep], places: Option<&BTreeSet<usize>>) -> BTreeSet<&'a str> {
    let places = places.into_iter().flatten();
    let names = places.filter_map(|&at| steps.get(at));
    names.map(|step| step.name.as_str()).collect()
}

/// One point of no return, and every other step clearly on one side of it.
fn check_pivot(
    mode: Mode,
    steps: &[DraftStep],
    before: &[BTreeSet<usize>],
) -> Result<Option<usize>, Error> {
    let mut pivots = steps.iter().enumerate().filter(|(_, step)| step.pivot);
    let Some((at, pivot)) = pivots.next() else {
        return Ok(None);
    };
    if mode == Mode::Tcc {
        return Err(Error::PivotInTcc {
            step: pivot.name.clone(),
        });
    }
    let name = || pivot.name.clone();
    if let Some((_, second)) = pivots.next() {
        return Err(Error::SecondPivot {
            step: second.name.clone(),
            pivot: name(),
        });
    }
    for (other, step) in steps.iter().enumerate() {
        let comes_before = before.get(at).is_some_and(|b| b.contains(&other));
        let comes_after = before.get(other).is_some_and(|b| b.contains(&at));
        if other != at && !comes_before && !comes_after {
            return Err(Error::BesidePivot {
                step: step.name.clone(),
                pivot: name(),
            });
        }
    }
    Ok(Some(at))
}

fn check_output(
    output: &Option<crate::saga::mapping::Mapping>,
    names: &BTreeSet<String>,
) -> Result<(), Error> {
    let mut unknown = None;
    if let Some(output) = output {
        output.references(&mut |reference| {
            if let Source::Step(step) = &reference.source
                && !names.contains(step)
            {
                unknown.get_or_insert_with(|| step.clone());
            }
        });
    }
    unknown.map_or(Ok(()), |step| Err(Error::OutputStep { step }))
}

fn check_step(
    mode: Mode,
    draft: &DraftStep,
    steps: &[DraftStep],
    pivot: Option<usize>,
    after_pivot: bool,
    before: &BTreeSet<&str>,
) -> Result<Step, Error> {
    let step = || draft.name.clone();
    let pivot_name = pivot.and_then(|at| steps.get(at)).map(|p| p.name.clone());
    let sub_saga = matches!(draft.action.target, Target::Saga { .. });
    if mode == Mode::Tcc && sub_saga {
        return Err(sub_saga_fault(draft, "action"));
    }
    let mut action = draft.action.clone();
    check_action(draft, "action", &action, before, Own::NotYet)?;
    action.retry.settle_attempts(after_pivot);

    let mut undo = match (&draft.undo, pivot_name) {
        (Undo::Call(_), Some(pivot)) if after_pivot => {
            let step = step();
            return Err(Error::UndoAfterPivot { step, pivot });
        }
        (Undo::Call(_), _) if sub_saga => return Err(sub_saga_fault(draft, "undo")),
        (Undo::Call(call), _) => Some(call.clone()),
        (Undo::Nothing, _) => None,
        (Undo::Unspecified, _) if after_pivot || draft.pivot => None,
        // The saga itself is undone.
        (Undo::Unspecified, _) if sub_saga => Some(Action {
            input: None,
            retry: super::Retry::default(),
            ..draft.action.clone()
        }),
        (Undo::Unspecified, _) => return Err(Error::MissingUndo { step: step() }),
    };
    if let Some(undo) = &mut undo {
        let field = if mode == Mode::Tcc { "cancel" } else { "undo" };
        if matches!(undo.target, Target::Saga { .. }) && !sub_saga {
            return Err(sub_saga_fault(draft, field));
        }
        check_action(draft, field, undo, before, Own::WithDefault)?;
        undo.retry.settle_attempts(true);
    }
    let mut confirm = match (mode, &draft.confirm) {
        (Mode::Tcc, Some(confirm)) => Some(confirm.clone()),
        (Mode::Tcc, None) => return Err(Error::MissingConfirm { step: step() }),
        (Mode::Saga, Some(_)) => return Err(Error::ConfirmInSaga { step: step() }),
        (Mode::Saga, None) => None,
    };
    if let Some(confirm) = &mut confirm {
        if matches!(confirm.target, Target::Saga { .. }) {
            return Err(sub_saga_fault(draft, "confirm"));
        }
        check_action(draft, "confirm", confirm, before, Own::Known)?;
        confirm.retry.settle_attempts(true);
    }

    let places = steps.iter().enumerate();
    let depends_on = places.filter(|(_, other)| draft.depends_on.contains(&other.name));
    Ok(Step {
        name: step(),
        depends_on: depends_on.map(|(at, _)| index(at)).collect(),
        dependents: Vec::new(),
        action,
        undo,
        confirm,
        after_pivot,
    })
}

/// What a call may say about the output of its own step's action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// It is this call that makes it.
    NotYet,
    /// The action may have no known outcome.
    WithDefault,
    /// The action has succeeded.
    Known,
}

fn check_action(
    draft: &DraftStep,
    field: &'static str,
    action: &Action,
    before: &BTreeSet<&str>,
    own: Own,
) -> Result<(), Error> {
    let step = || draft.name.clone();
    let target = check_target(&action.target);
    target.map_err(|fault| Error::Target {
        step: step(),
        field,
        fault,
    })?;
    let timeouts = SAGA_CALL_TIMEOUT_MS_MIN..=SAGA_CALL_TIMEOUT_MS_MAX;
    if !timeouts.contains(&action.timeout_ms) {
        return Err(Error::StepRange {
            step: step(),
            field: format!("{field}.timeout_ms"),
            value: action.timeout_ms,
            least: *timeouts.start(),
            most: *timeouts.end(),
        });
    }
    check_policy(draft, field, "", &action.retry.otherwise)?;
    for (class, policy) in &action.retry.classes {
        check_policy(draft, field, class.name(), policy)?;
    }
    let mut fault = None;
    if let Some(mapping) = &action.input {
        mapping.references(&mut |reference| {
            let Source::Step(referred) = &reference.source else {
                return;
            };
            let own_output = *referred == draft.name;
            if before.contains(referred.as_str()) || (own_output && own == Own::Known) {
                return;
            }
            let found = if own_output && own == Own::WithDefault {
                if reference.default.is_some() {
                    return;
                }
                Error::OwnOutput {
                    step: step(),
                    field,
                }
            } else {
                Error::NotBefore {
                    step: step(),
                    field,
                    referred: referred.clone(),
                }
            };
            fault.get_or_insert(found);
        });
    }
    fault.map_or(Ok(()), Err)
}

fn check_policy(
    draft: &DraftStep,
    field: &str,
    class: &str,
    policy: &RetryPolicy,
) -> Result<(), Error> {
    let fault = |name: &str, value, least, most| {
        let class = if class.is_empty() {
            String::new()
        } else {
            format!(".{class}")
        };
        Err(Error::StepRange {
            step: draft.name.clone(),
            field: format!("{field}.retry{class}.{name}"),
            value,
            least,
            most,
        })
    };
    if !(1..=SAGA_RETRY_MS_MAX).contains(&policy.cap_ms) {
        return fault("cap_ms", policy.cap_ms, 1, SAGA_RETRY_MS_MAX);
    }
    if !(1..=policy.cap_ms).contains(&policy.base_ms) {
        return fault("base_ms", policy.base_ms, 1, policy.cap_ms);
    }
    match policy.attempts {
        Attempts::AtMost(0) => fault("attempts_max", 0, 1, u32::MAX.into()),
        Attempts::AtMost(_) | Attempts::ByPosition | Attempts::Unbounded => Ok(()),
    }
}

fn check_target(target: &Target) -> Result<(), TargetFault> {
    match target {
        Target::Http { url } => check_url(url),
        Target::Grpc { url, operation } => {
            check_url(url)?;
            let (characters, limit) = (operation.chars().count(), GROUP_CHARACTERS_MAX);
            too_long("operation", characters, limit)
        }
        Target::Message { topic, tag } => check_message(topic, tag),
        Target::Saga { definition, .. } => Ok(name::check_group("saga", definition)?),
    }
}

fn check_message(topic: &str, tag: &str) -> Result<(), TargetFault> {
    name::check_topic("topic", topic)?;
    too_long("tag", tag.chars().count(), TAG_CHARACTERS_MAX)
}

fn check_url(url: &str) -> Result<(), TargetFault> {
    too_long("url", url.chars().count(), SAGA_ADDRESS_CHARACTERS_MAX)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let spaces = url.chars().any(|c| c.is_whitespace() || c.is_control());
    match host {
        Some(host) if !host.is_empty() && !host.starts_with(':') && !spaces => Ok(()),
        Some(_) | None => Err(TargetFault::Url {
            url: url.chars().take(256).collect(),
        }),
    }
}

fn too_long(field: &'static str, characters: usize, limit: usize) -> Result<(), TargetFault> {
    if characters <= limit {
        return Ok(());
    }
    Err(TargetFault::TooLong {
        field,
        characters,
        limit,
    })
}

fn sub_saga_fault(draft: &DraftStep, field: &'static str) -> Error {
    Error::SubSaga {
        step: draft.name.clone(),
        field,
    }
}

/// There are at most [`SAGA_STEPS_COUNT_MAX`] steps.
fn index(at: usize) -> StepIndex {
    StepIndex::try_from(at).unwrap_or(StepIndex::MAX)
}
