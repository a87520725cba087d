mod forms;
mod naive;
mod scenarios;

use std::sync::Arc;

use bytes::Bytes;

use super::{Answer, Command, Ledger, Limits, OwnerId};
use crate::saga::{
    Definition, Phase,
    definition::{Action, Draft, DraftStep, Mode, Target, Undo},
    event::{Event, Start},
};

fn call() -> Action {
    Action::new(Target::Http {
        url: "http://stock".to_owned(),
    })
}

/// Steps one after the other, each with an undo.
fn chain(name: &str, steps: &[&str]) -> Arc<Definition> {
    let mut draft = Draft::new(name, Mode::Saga);
    for (at, step) in steps.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| steps[at]);
        let step = DraftStep::new(*step, call(), Undo::Call(call()));
        draft.steps.push(step.after(before.as_slice()));
    }
    Arc::new(Definition::new(draft).unwrap())
}

/// A saga that has another one as its first step.
fn nested(name: &str, inner: &Definition) -> Arc<Definition> {
    let mut draft = Draft::new(name, Mode::Saga);
    let target = Target::Saga {
        definition: inner.name().to_owned(),
        version: inner.version(),
    };
    let inner = DraftStep::new("inner", Action::new(target), Undo::Unspecified);
    let next = DraftStep::new("next", call(), Undo::Call(call()));
    draft.steps = vec![inner, next.after(&["inner"])];
    Arc::new(Definition::new(draft).unwrap())
}

fn start(definition: &Definition, saga: &str) -> Start {
    Start {
        saga: saga.to_owned(),
        definition: definition.name().to_owned(),
        version: definition.version(),
        input: Bytes::from_static(b"{}"),
        start_at_ms: 0,
        deadline_at_ms: None,
        parent: None,
    }
}

fn begin(step: u16, phase: Phase) -> Event {
    Event::Started {
        step,
        phase,
        attempt: 1,
        after: None,
    }
}

fn succeed(step: u16, phase: Phase) -> Event {
    let output = match phase {
        Phase::Action => Bytes::from_static(b"1"),
        Phase::Undo | Phase::Confirm => Bytes::new(),
    };
    Event::Succeeded {
        step,
        phase,
        output,
    }
}

/// A ledger and a clock.
struct Subject {
    ledger: Ledger,
    now_ms: u64,
}

impl Subject {
    fn new(limits: Limits) -> Self {
        Self {
            ledger: Ledger::new(limits),
            now_ms: 1_000,
        }
    }

    fn apply(&mut self, command: Command) -> Answer {
        self.ledger.apply(self.now_ms, command)
    }

    fn define(&mut self, definition: &Definition) {
        let encoded = definition.encoded().clone();
        let answer = self.apply(Command::Define { encoded });
        assert!(matches!(answer, Answer::Defined { .. }), "{answer:?}");
    }

    fn start(&mut self, definition: &Definition, saga: &str, owner: Option<OwnerId>) -> Answer {
        let start = start(definition, saga);
        self.apply(Command::Start { start, owner })
    }

    fn append(&mut self, saga: &str, epoch: u64, after: u64, events: Vec<Event>) -> Answer {
        self.apply(Command::Append {
            saga: saga.to_owned(),
            epoch,
            after,
            events,
        })
    }

    fn own(&mut self, owner: OwnerId, take_max: u32, heard: u64) -> Owned {
        let answer = self.apply(Command::Own {
            owner,
            lease_ms: 100,
            take_max,
            heard,
        });
        let Answer::Owned {
            taken,
            acted_on,
            more,
            told,
            ..
        } = answer
        else {
            panic!("{answer:?}");
        };
        let taken = taken.into_iter().map(|held| (held.saga, held.epoch));
        Owned {
            taken: taken.collect(),
            acted_on,
            more,
            told,
        }
    }
}

#[derive(Debug)]
struct Owned {
    taken: Vec<(String, u64)>,
    acted_on: Vec<String>,
    more: bool,
    told: u64,
}
