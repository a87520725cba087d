//! Executors over ledgers in memory, in a time of their own.

mod clock;
mod participants;
mod scenarios;
mod store;
mod worlds;

use std::sync::Arc;

use bytes::Bytes;
use outrigger_core::saga::{
    Definition,
    definition::{Action, Draft, DraftStep, Mode, Target, Undo},
    event::Start,
};
use tokio::task::JoinHandle;

use super::{Executor, Handle, NoMessages, Options, Surroundings, planted::Planted};
use clock::Clock;
use participants::{Network, World};
use store::MemoryStore;

/// One executor that runs.
struct Running {
    number: u32,
    handle: Handle,
    task: JoinHandle<()>,
}

fn run(
    clock: Clock,
    store: &MemoryStore,
    world: &World,
    executor: u32,
    options: Options,
) -> Running {
    run_planted(clock, store, world, executor, options, None)
}

fn run_planted(
    clock: Clock,
    store: &MemoryStore,
    world: &World,
    number: u32,
    options: Options,
    planted: Option<Planted>,
) -> Running {
    let surroundings = Surroundings {
        owner: u128::from(number),
        seed: number.into(),
        now_ms: Arc::new(move || clock.now_ms()),
    };
    let network = Network {
        world: world.clone(),
        executor: number,
    };
    let (handle, mut executor) = Executor::new(
        Arc::new(store.clone()),
        Arc::new(network),
        Arc::new(NoMessages),
        options,
        surroundings,
    );
    executor.planted = planted;
    let task = tokio::spawn(executor.run());
    Running {
        number,
        handle,
        task,
    }
}

/// Calls to one of the hosts `p0`, `p1` and so on.
fn call(host: usize, name: &str) -> Action {
    Action::new(Target::Http {
        url: format!("http://p{host}/{name}"),
    })
}

/// Steps one after the other, each with a host of its own and an undo.
fn linear(steps: usize) -> Draft {
    let mut draft = Draft::new("linear", Mode::Saga);
    for at in 0..steps {
        let undo = Undo::Call(call(at, "undo"));
        let mut step = DraftStep::new(format!("step-{at}"), call(at, "do"), undo);
        if at > 0 {
            step = step.after(&[&format!("step-{}", at - 1)]);
        }
        draft.steps.push(step);
    }
    draft
}

fn start_of(definition: &Definition, saga: &str) -> Start {
    Start {
        saga: saga.to_owned(),
        definition: definition.name().to_owned(),
        version: definition.version(),
        input: Bytes::from_static(br#"{"order":17}"#),
        start_at_ms: 0,
        deadline_at_ms: None,
        parent: None,
    }
}
