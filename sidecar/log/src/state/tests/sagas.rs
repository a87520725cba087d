//! Random schedules of sagas, with checkpoints and crashes. What the core does with everything
//! in memory is what is expected.

use bytes::Bytes;
use outrigger_core::saga::definition::{Action, Draft, DraftStep, Mode, Target, Undo};
use outrigger_core::saga::event::{Act, Event, Note, Parent, Start, UndoCause};
use outrigger_core::saga::ledger::{self, Answer, Command, Filter, Kind, Ledger, Reported, View};
use outrigger_core::saga::{Definition, Phase, StepIndex, child_id};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fate::{Fate, Then, then};
use super::{Limits, Subject};
use crate::apply::Expiry as _;
use crate::command::Outcome;

const SAGAS: usize = 4;

fn limits() -> Limits {
    Limits {
        sagas: ledger::Limits {
            sagas_max: 3,
            definitions_max: 3,
            events_max: 40,
            unseen_acts_max: 2,
            retention_ms: 900,
        },
        ..Limits::default()
    }
}

fn call() -> Action {
    Action::new(Target::Http {
        url: "http://stock".to_owned(),
    })
}

/// One that can be a step, and one that has it as its first step.
fn definitions() -> [Definition; 2] {
    let mut inner = Draft::new("inner", Mode::Saga);
    inner.steps = vec![DraftStep::new("a", call(), Undo::Call(call()))];
    let inner = Definition::new(inner).unwrap();
    let mut outer = Draft::new("outer", Mode::Saga);
    let target = Target::Saga {
        definition: inner.name().to_owned(),
        version: inner.version(),
    };
    let first = DraftStep::new("inner", Action::new(target), Undo::Unspecified);
    let second = DraftStep::new("b", call(), Undo::Call(call()));
    outer.steps = vec![first, second.after(&["inner"])];
    [inner, Definition::new(outer).unwrap()]
}

/// What is tried. What it is in detail follows from how the saga is then.
#[derive(Clone, Debug)]
enum Try {
    Define(usize),
    Start {
        saga: usize,
        owner: Option<u128>,
    },
    StartInner {
        saga: usize,
    },
    /// The so-many-th event that could follow, of the saga or of its step.
    Append {
        saga: usize,
        inner: bool,
        which: usize,
        late: bool,
    },
    Act {
        saga: usize,
        inner: bool,
        which: usize,
    },
    Report {
        saga: usize,
        success: bool,
    },
    Own {
        owner: u128,
        lease_ms: u64,
        heard: bool,
    },
}

fn attempt() -> impl Strategy<Value = Try> {
    let saga = || 0..SAGAS;
    let owner = || 1..3_u128;
    prop_oneof![
        1 => (0..2_usize).prop_map(Try::Define),
        3 => (saga(), proptest::option::of(owner()))
            .prop_map(|(saga, owner)| Try::Start { saga, owner }),
        3 => saga().prop_map(|saga| Try::StartInner { saga }),
        12 => (saga(), any::<bool>(), 0..4_usize, prop::bool::weighted(0.1))
            .prop_map(|(saga, inner, which, late)| Try::Append { saga, inner, which, late }),
        3 => (saga(), any::<bool>(), 0..6_usize)
            .prop_map(|(saga, inner, which)| Try::Act { saga, inner, which }),
        1 => (saga(), any::<bool>()).prop_map(|(saga, success)| Try::Report { saga, success }),
        4 => (owner(), prop_oneof![5 => Just(300), 1 => Just(0)], any::<bool>())
            .prop_map(|(owner, lease_ms, heard)| Try::Own { owner, lease_ms, heard }),
    ]
}

/// Everything that the owner could record, what is legal as well as what is not.
fn events(view: &View) -> Vec<Event> {
    let mut all = vec![Event::Completed, Event::Undone, Event::Parked];
    let steps = StepIndex::try_from(view.record.steps().len()).unwrap();
    for step in 0..steps {
        for phase in [Phase::Action, Phase::Undo] {
            all.push(Event::Started {
                step,
                phase,
                attempt: 1,
                after: None,
            });
            all.push(Event::Succeeded {
                step,
                phase,
                output: Bytes::from_static(b"output"),
            });
        }
        all.push(Event::Failed {
            step,
            only_call: false,
            message: "no".to_owned(),
        });
        all.push(Event::UndoBegun {
            cause: UndoCause::Step(step),
        });
    }
    all.retain(|event| view.record.check(event).is_ok());
    all
}

/// The commands of one entry, made with the model as it is before each of them.
struct Player {
    definitions: [Definition; 2],
    model: Ledger,
    told: [u64; 4],
}

impl Player {
    fn command(&self, now_ms: u64, attempt: &Try) -> Command {
        let id = |saga: usize, inner: bool| match inner {
            true => child_id(&format!("saga-{saga}"), "inner"),
            false => format!("saga-{saga}"),
        };
        let start = |of: usize, saga: String| Start {
            saga,
            definition: self.definitions[of].name().to_owned(),
            version: self.definitions[of].version(),
            input: Bytes::from_static(b"input"),
            start_at_ms: 0,
            deadline_at_ms: None,
            parent: None,
        };
        match *attempt {
            Try::Define(of) => Command::Define {
                encoded: self.definitions[of].encoded().clone(),
            },
            Try::Start { saga, owner } => Command::Start {
                start: start(saga % 2, id(saga, false)),
                owner,
            },
            Try::StartInner { saga } => {
                let mut start = start(0, id(saga, true));
                let (saga, step) = (id(saga, false), "inner".to_owned());
                start.parent = Some(Parent { saga, step });
                Command::Start {
                    start,
                    owner: Some(1),
                }
            }
            Try::Append {
                saga,
                inner,
                which,
                late,
            } => {
                let saga = id(saga, inner);
                let view = self.model.view(now_ms, &saga);
                let view = view.as_ref();
                let possible = view.map(events).unwrap_or_default();
                let event = possible.get(which % possible.len().max(1)).cloned();
                Command::Append {
                    saga,
                    epoch: view.map_or(1, |view| view.epoch.saturating_sub(late.into())),
                    after: view.map_or(0, |view| view.record.sequence()),
                    events: event.into_iter().collect(),
                }
            }
            Try::Act { saga, inner, which } => Command::Act {
                act: match which {
                    0 => Act::Park,
                    1 => Act::Resume,
                    2 => Act::Retry { step: 0 },
                    3 => Act::EditInput {
                        step: 0,
                        phase: Phase::Action,
                        input: Bytes::from_static(b"edited"),
                    },
                    _ => Act::Undo,
                },
                note: Note {
                    by: Note::by_saga(&id(saga, false)),
                    reason: "because".to_owned(),
                },
                saga: id(saga, inner),
            },
            Try::Report { saga, success } => Command::Report {
                saga: id(saga, false),
                step: "b".to_owned(),
                phase: Phase::Action,
                outcome: match success {
                    true => Reported::Success {
                        output: Bytes::new(),
                    },
                    false => Reported::Failure {
                        message: "no".to_owned(),
                    },
                },
            },
            Try::Own {
                owner,
                lease_ms,
                heard,
            } => Command::Own {
                owner,
                lease_ms,
                take_max: 2,
                heard: if heard { self.told[owner as usize] } else { 0 },
            },
        }
    }

    /// Does it, and says what is to be answered.
    fn play(&mut self, now_ms: u64, attempt: &Try) -> (Command, Answer) {
        let command = self.command(now_ms, attempt);
        let answer = self.model.apply(now_ms, command.clone());
        if let (Try::Own { owner, .. }, Answer::Owned { told, .. }) = (attempt, &answer) {
            self.told[*owner as usize] = *told;
        }
        (command, answer)
    }
}

fn check(subject: &Subject, model: &Ledger, now_ms: u64) {
    let shared = subject.state.shared();
    assert_eq!(shared.counts().sagas, model.counts(now_ms));
    for saga in 0..SAGAS {
        for id in [format!("saga-{saga}"), format!("saga-{saga}/inner")] {
            assert_eq!(shared.saga(&id).unwrap(), model.view(now_ms, &id), "{id}");
        }
    }
    for kinds in [
        vec![],
        vec![Kind::Completed, Kind::Undone],
        vec![Kind::Running],
    ] {
        let filter = Filter {
            kinds,
            ..Filter::default()
        };
        let mut after = String::new();
        loop {
            let page = shared.sagas(&filter, &after, 2).unwrap();
            let expected = model.list(now_ms, &filter, &after, 2);
            assert_eq!(page.sagas, expected.sagas);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
    }
    for name in [None, Some("inner"), Some("nothing")] {
        assert_eq!(shared.saga_definitions(name), model.definitions(name));
    }
    let latest = model.definition("outer", None).cloned();
    assert_eq!(shared.saga_definition("outer", None), latest);
}

type Entry = (u64, Vec<Try>, Then);

fn run(schedule: Vec<Entry>) {
    let mut subject = Subject::new(limits());
    let mut untouched = Subject::new(limits());
    let mut player = Player {
        definitions: definitions(),
        model: Ledger::new(limits().sagas),
        told: [0; 4],
    };
    let mut fate = Fate::default();
    let mut now_ms = 1_000;
    let begin = vec![Try::Define(0), Try::Define(1)];
    let first: Entry = (0, begin, Then::Nothing);
    for (later_ms, attempts, then) in std::iter::once(first).chain(schedule) {
        now_ms += later_ms;
        let play = |attempt| player.play(now_ms, attempt);
        let (commands, expected): (Vec<_>, Vec<_>) = attempts.iter().map(play).unzip();
        let commands: Vec<_> = commands.into_iter().map(Into::into).collect();
        let expected = expected.into_iter().map(|one| Outcome::Saga(Box::new(one)));
        let expected: Vec<_> = expected.collect();
        assert_eq!(subject.submit(now_ms, &commands), expected);
        assert_eq!(untouched.submit(now_ms, &commands), expected);
        subject = fate.befall(subject, then);
        if then != Then::Nothing {
            check(&subject, &player.model, now_ms);
        }
    }
    check(&subject, &player.model, now_ms);
    assert_eq!(subject.digest(), untouched.digest());
    let floor = subject.state.shared().floor();
    assert_eq!(floor, 0);
    for (index, file) in &fate.floors {
        let newcomer = subject.newcomer(file);
        assert_eq!(newcomer.digest(), untouched.digest(), "from entry {index}");
        check(&newcomer, &player.model, now_ms);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn sagas_are_kept_whatever_crashes(
        schedule in vec((0..250_u64, vec(attempt(), 1..8), then()), 1..40)
    ) {
        run(schedule);
    }
}
