//! How sagas may have ended.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_core::saga::{
    Definition, Phase, StepIndex, child_id,
    definition::{Mode, Target},
    event::Event,
    ledger::View,
    record::{ResultState, Status},
};

use super::Sagas;
use crate::simulation::scene::Scene;

/// All sagas of a node, by their ids.
pub(in crate::simulation) type Sight = BTreeMap<String, View>;

impl Sagas {
    /// Judges what there is in the end, on every node. What the first node has, for a
    /// comparison.
    pub(in crate::simulation) fn judge(&self, scene: &mut Scene) -> Option<Sight> {
        let mut first: Option<Sight> = None;
        for node in scene.world.nodes() {
            let sight: Sight = match Self::read(scene, node) {
                Ok(Some(views)) => {
                    let named = |view: View| (view.record.started().saga.clone(), view);
                    views.into_iter().map(named).collect()
                }
                Ok(None) => {
                    scene.problem(format!("node {node} does not run in the end"));
                    return None;
                }
                Err(problem) => {
                    scene.problem(problem);
                    return None;
                }
            };
            match &first {
                None => first = Some(sight),
                Some(first) => compare(scene, &format!("node {node}"), first, &sight),
            }
        }
        let sight = first?;
        for (id, told) in &self.register {
            let Some(view) = sight.get(id) else {
                if told.acknowledged || told.ended.is_some() {
                    scene.problem(format!("saga {id} was acknowledged, and is not there"));
                }
                continue;
            };
            let status = view.record.status();
            if told.ended.is_some_and(|ended| ended != status) {
                let ended = told.ended;
                scene.problem(format!(
                    "saga {id} was said to be {ended:?} and is {status:?}"
                ));
            }
        }
        let mut wrong = Vec::new();
        for (id, view) in &sight {
            self.judge_one(&sight, id, view, &mut wrong);
        }
        for problem in wrong {
            scene.problem(problem);
        }
        Some(sight)
    }

    fn judge_one(&self, sight: &Sight, id: &str, view: &View, wrong: &mut Vec<String>) {
        let record = &view.record;
        let definition = record.definition();
        let status = record.status();
        let completed = match status {
            Status::Completed => true,
            Status::Undone => false,
            Status::Working(_) | Status::Parked { .. } => {
                wrong.push(format!("saga {id} has not ended: {status:?}"));
                return;
            }
        };
        let word = if completed { "completed" } else { "undone" };
        if record.result_state() == ResultState::Delivered
            && !definition.deliveries().is_empty()
            && !self.participants.has_result(id, word)
        {
            wrong.push(format!("the result of saga {id} has not arrived"));
        }
        for (place, step) in (0..).zip(definition.steps()) {
            if let Target::Saga { .. } = step.action.target {
                let child = sight.get(&child_id(id, &step.name));
                let child = child.map(|child| child.record.status());
                let fits = match completed {
                    true => child == Some(Status::Completed),
                    false => child.is_none_or(|child| child == Status::Undone),
                };
                if !fits {
                    let name = &step.name;
                    wrong.push(format!(
                        "saga {id} is {word}, and its step {name} is {child:?}"
                    ));
                }
                continue;
            }
            let book = self.participants.book(id, &step.name);
            let (effect, confirmed) = book.map_or((0, 0), |book| (book.effect, book.confirmed));
            let confirms = i64::from(completed && definition.mode() == Mode::Tcc);
            let undoable = step.undo.is_some() || definition.pivot() == Some(place);
            let wanted = match completed {
                true => 1,
                false if undoable => 0,
                // There is nothing to undo.
                false => effect,
            };
            if (effect, confirmed) != (wanted, confirms) {
                wrong.push(format!(
                    "saga {id} is {word}, and its step {} has {effect} effects, {confirmed} \
                     confirmed",
                    step.name
                ));
            }
        }
        if let Some(objection) = objection(definition, view) {
            wrong.push(format!("saga {id}: {objection}"));
        }
    }
}

/// Compares what two have, which must be the same.
pub(in crate::simulation) fn compare(scene: &mut Scene, who: &str, first: &Sight, other: &Sight) {
    for (id, view) in first {
        match other.get(id) {
            Some(same) if same == view => {}
            Some(_) => scene.problem(format!("{who} has saga {id} otherwise")),
            None => scene.problem(format!("{who} does not have saga {id}")),
        }
    }
    for id in other.keys().filter(|id| !first.contains_key(*id)) {
        scene.problem(format!("{who} has saga {id}, which others do not have"));
    }
}

/// An undo that was announced before it was settled what became of its action, as far as the
/// events are kept.
fn objection(definition: &Definition, view: &View) -> Option<String> {
    if view.history.len() as u64 != view.record.sequence() {
        return None;
    }
    let mut settled: BTreeSet<StepIndex> = BTreeSet::new();
    for entry in &view.history {
        match &entry.event {
            Event::Succeeded {
                step,
                phase: Phase::Action,
                ..
            }
            | Event::Failed { step, .. }
            | Event::Abandoned { step, .. } => {
                settled.insert(*step);
            }
            Event::Started {
                step,
                phase: Phase::Undo,
                ..
            } if !settled.contains(step) => {
                let name = definition.step(*step).map(|step| step.name.clone());
                return Some(format!("step {name:?} was undone before it was settled"));
            }
            _ => {}
        }
    }
    None
}
