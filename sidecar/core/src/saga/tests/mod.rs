//! Sagas in small worlds with everything that can go wrong.

mod history;
mod participant;
mod scenarios;
mod world;

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use world::{End, World};

use super::{
    Definition,
    definition::{Action, Attempts, Draft, DraftStep, Mode, RetryPolicy, Target, Undo},
    event::Event,
    record::Record,
};

/// Mistakes that the properties must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    /// Undoes a step before those that depend on it.
    UndoTooEarly,
    /// Takes an action whose outcome is unknown as not having happened.
    ForgetsUnknown,
    /// A living owner takes an unknown outcome as a refusal; a recovered one does not.
    LiveDiffers,
    /// Takes every refused call for the only one.
    ForgetsOtherCalls,
    /// Calls without waiting until that is durable.
    SendsTooEarly,
}

/// The event as a living owner sees it.
pub(super) fn planted_event(record: &Record, event: &Event) -> Event {
    match event {
        Event::Abandoned { step, .. } if record.planted == Some(Planted::LiveDiffers) => {
            Event::Failed {
                step: *step,
                only_call: record.step(*step).is_some_and(|s| s.attempt() == 1),
                message: String::new(),
            }
        }
        _ => event.clone(),
    }
}

/// What a random definition is made of.
#[derive(Debug, Clone)]
struct Shape {
    before: usize,
    pivot: bool,
    after: usize,
    edges: u64,
    /// Bits of steps that have nothing to undo.
    nothing: u8,
    tcc: bool,
    pivot_has_undo: bool,
    deadline_ms: Option<u64>,
    attempts_max: u32,
    /// Participants do not remember that they refused an action. Then the network repeats
    /// nothing, and there is no pivot, or the guarantees would not hold.
    forgets_refusals: bool,
    /// A participant that refuses for ever what must succeed.
    stubborn: Option<usize>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let steps = (1..5_usize, any::<bool>(), 0..3_usize, any::<u64>());
    let ways = (any::<u8>(), any::<bool>(), any::<bool>());
    let limits = (option::of(1..40_000_u64), 1..4_u32);
    let participants = (prop::bool::weighted(0.3), option::weighted(0.1, 0..5_usize));
    (steps, ways, limits, participants).prop_map(
        |(
            (before, pivot, after, edges),
            (nothing, tcc, pivot_has_undo),
            limits,
            (forgets_refusals, stubborn),
        )| Shape {
            before,
            pivot: pivot && !tcc && !forgets_refusals,
            after,
            edges,
            nothing: nothing & nothing >> 3,
            tcc,
            pivot_has_undo,
            deadline_ms: limits.0,
            attempts_max: limits.1,
            forgets_refusals,
            stubborn,
        },
    )
}

fn call(attempts: Attempts) -> Action {
    let mut action = Action::new(Target::Http {
        url: "http://stock".to_owned(),
    });
    action.retry.otherwise = RetryPolicy {
        attempts,
        ..RetryPolicy::DEFAULT
    };
    action
}

fn define(shape: &Shape) -> Arc<Definition> {
    let mode = if shape.tcc { Mode::Tcc } else { Mode::Saga };
    let mut draft = Draft::new("random", mode);
    draft.deadline_ms = shape.deadline_ms;
    let total = shape.before + usize::from(shape.pivot) + shape.after * usize::from(shape.pivot);
    let name = |at: usize| format!("step-{at}");
    let mut bits = shape.edges;
    for at in 0..total {
        let attempts = Attempts::AtMost(shape.attempts_max);
        let pivot = shape.pivot && at == shape.before;
        let after = shape.pivot && at > shape.before;
        let undo = match after || (pivot && !shape.pivot_has_undo) {
            true => Undo::Unspecified,
            false if !pivot && shape.nothing >> at & 1 == 1 => Undo::Nothing,
            false => Undo::Call(call(Attempts::ByPosition)),
        };
        let mut step = DraftStep::new(name(at), call(attempts), undo);
        step.pivot = pivot;
        step.confirm = shape
            .tcc
            .then(|| call(Attempts::AtMost(shape.attempts_max)));
        for earlier in 0..at {
            let chosen = bits & 1 == 1;
            bits = bits.rotate_right(1);
            let forced = pivot || (after && earlier == shape.before);
            if chosen || forced {
                step.depends_on.push(name(earlier));
            }
        }
        draft.steps.push(step);
    }
    Arc::new(Definition::new(draft).unwrap())
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

fn world() -> impl Strategy<Value = (Shape, Vec<u16>)> {
    (shape(), vec(any::<u16>(), 0..500))
}

/// Every order of crashes, changes of owners, lost, late and repeated calls, unknown outcomes
/// and acts of people ends, and ends as it may.
#[test]
fn a_saga_ends_completed_or_undone_or_waits_for_a_person() {
    let ends = RefCell::new(BTreeSet::new());
    let result = TestRunner::new(config(2_000)).run(&world(), |(shape, choices)| {
        let end = World::new(&shape, &choices, None).run();
        ends.borrow_mut().insert(end.map_err(TestCaseError::fail)?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let ends = ends.into_inner();
    let all = BTreeSet::from([End::Completed, End::Undone, End::Parked]);
    assert_eq!(ends, all);
}

/// The property above is worth something: it finds each of these mistakes.
#[test]
fn planted_mistakes_are_found() {
    for planted in [
        Planted::UndoTooEarly,
        Planted::ForgetsUnknown,
        Planted::LiveDiffers,
        Planted::ForgetsOtherCalls,
        Planted::SendsTooEarly,
    ] {
        // The same worlds every time: whether a mistake is found is not left to chance.
        let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(config(5_000), random);
        let result = runner.run(&world(), |(shape, choices)| {
            let ended = World::new(&shape, &choices, Some(planted)).run();
            ended.map(drop).map_err(TestCaseError::fail)
        });
        let Err(TestError::Fail(reason, _)) = result else {
            panic!("{planted:?} was not found: {result:?}");
        };
        println!(
            "{planted:?}: {}",
            reason.message().chars().take(200).collect::<String>()
        );
    }
}
