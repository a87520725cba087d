use bytes::Bytes;

use super::{Subject, begin, chain, nested, start, succeed};
use crate::saga::{
    Phase,
    event::{Act, Event, Note, Parent, UndoCause},
    ledger::{Answer, Command, Counts, Filter, Kind, Limits, Refusal, Reported},
    record::Status,
};

fn note(by: &str) -> Note {
    Note {
        by: by.to_owned(),
        reason: "because".to_owned(),
    }
}

fn act(saga: &str, act: Act, by: &str) -> Command {
    Command::Act {
        saga: saga.to_owned(),
        act,
        note: note(by),
    }
}

fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The owner is told what it took over until it says that it has heard it, so that no lost
/// answer leaves a saga to somebody who does not know about it.
#[test]
fn what_an_owner_took_over_is_told_until_it_has_heard_it() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    for saga in ["s1", "s2", "s3"] {
        subject.start(&definition, saga, None);
    }
    let first = subject.own(1, 2, 0);
    let held = |saga: &str, epoch| (saga.to_owned(), epoch);
    assert_eq!(first.taken, [held("s1", 1), held("s2", 1)]);
    assert!(first.more);
    // The answer was lost. Nothing more is taken over: there is no room.
    let second = subject.own(1, 2, 0);
    assert_eq!(second.taken, first.taken);
    let third = subject.own(1, 2, second.told);
    assert_eq!(third.taken, [held("s3", 1)]);
    assert!(!third.more);
    let fourth = subject.own(1, 2, third.told);
    assert!(fourth.taken.is_empty() && !fourth.more);
    // What a person does is told in the same way, also if it is done again.
    subject.apply(act("s2", Act::Park, "ann"));
    let fifth = subject.own(1, 2, fourth.told);
    assert_eq!(fifth.acted_on, ["s2"]);
    subject.apply(act("s2", Act::Resume, "ann"));
    let sixth = subject.own(1, 2, fifth.told);
    assert_eq!(sixth.acted_on, ["s2"]);
    assert!(subject.own(1, 2, sixth.told).acted_on.is_empty());
}

/// The first events go to the log together with the start. An owner that has lost the answer to
/// both is told that it has the saga, until it shows that it knows.
#[test]
fn an_owner_is_told_of_what_it_has_started_until_it_goes_on_with_it() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    let before = subject.own(1, 2, 0);
    subject.start(&definition, "s", Some(1));
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    let told = subject.own(1, 2, before.told);
    assert_eq!(told.taken, [("s".to_owned(), 1)]);
    subject.append("s", 1, 1, vec![succeed(0, Phase::Action)]);
    assert!(subject.own(1, 2, before.told).taken.is_empty());
}

/// An owner that is silent for too long loses its sagas to others, with a higher epoch; what
/// it still tries is refused.
#[test]
fn the_sagas_of_an_owner_that_is_gone_are_taken_over() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    let first = subject.own(1, 10, 0);
    assert!(matches!(
        subject.start(&definition, "s", Some(1)),
        Answer::Started {
            epoch: 1,
            created: true
        }
    ));
    // Whoever starts it again is told whether it owns it.
    for (owner, expected) in [(Some(1), 1), (Some(2), 0), (None, 0)] {
        let answer = subject.start(&definition, "s", owner);
        let (epoch, created) = (expected, false);
        assert_eq!(answer, Answer::Started { epoch, created });
    }
    // A start whose answer was lost is told.
    assert_eq!(subject.own(1, 10, first.told).taken, [("s".to_owned(), 1)]);
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    let told = subject.own(1, 10, first.told).told;
    assert!(subject.own(1, 10, told).taken.is_empty());
    subject.now_ms += 99;
    assert!(subject.own(2, 10, 0).taken.is_empty());
    subject.now_ms += 1;
    assert_eq!(subject.ledger.counts(subject.now_ms).orphans, 1);
    assert_eq!(subject.own(2, 10, 0).taken, [("s".to_owned(), 2)]);
    let late = subject.append("s", 1, 1, vec![succeed(0, Phase::Action)]);
    assert!(matches!(refusal(late), Refusal::Owner(_)));
    // Giving back is at once, and for ever, even if the same owner comes back.
    let give_back = Command::Own {
        owner: 2,
        lease_ms: 0,
        take_max: 10,
        heard: 0,
    };
    subject.apply(give_back);
    assert_eq!(
        subject.ledger.view(subject.now_ms, "s").unwrap().owner,
        None
    );
    assert_eq!(subject.own(2, 10, 0).taken, [("s".to_owned(), 3)]);
}

/// An owner records all of its events or none, and only when it has seen all others.
#[test]
fn events_are_recorded_all_or_none() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    subject.own(1, 10, 0);
    subject.start(&definition, "s", Some(1));
    let both = vec![begin(0, Phase::Action), begin(1, Phase::Action)];
    assert!(matches!(
        refusal(subject.append("s", 1, 0, both)),
        Refusal::Illegal(_)
    ));
    assert_eq!(
        subject.ledger.view(1_000, "s").unwrap().record.sequence(),
        0
    );
    assert_eq!(
        refusal(subject.append("s", 1, 0, Vec::new())),
        Refusal::NoEvents
    );
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    subject.apply(act("s", Act::Park, "ann"));
    let events = vec![succeed(0, Phase::Action)];
    let (after, recorded) = (1, 2);
    let stale = subject.append("s", 1, 1, events.clone());
    assert_eq!(refusal(stale), Refusal::Stale { after, recorded });
    let view = subject.ledger.view(1_000, "s").unwrap();
    assert_eq!((view.seen(), view.unseen.len()), (1, 1));
    assert_eq!(view.owner, Some(1));
    assert!(matches!(
        subject.append("s", 1, 2, events),
        Answer::Appended { sequence: 3 }
    ));
    let view = subject.ledger.view(1_000, "s").unwrap();
    assert_eq!((view.seen(), view.unseen.len()), (3, 0));
    let sequences: Vec<_> = view.history.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(
        view.history[2].event,
        Event::Succeeded {
            step: 0,
            phase: Phase::Action,
            output: Bytes::new()
        }
    );
}

/// The end of a call that somebody reports counts once, and only while the call is under way.
#[test]
fn a_report_counts_once() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    subject.own(1, 10, 0);
    subject.start(&definition, "s", Some(1));
    let report = |step: &str, outcome: Reported| Command::Report {
        saga: "s".to_owned(),
        step: step.to_owned(),
        phase: Phase::Action,
        outcome,
    };
    let success = || Reported::Success {
        output: Bytes::from_static(b"7"),
    };
    let failure = || Reported::Failure {
        message: "sold out".to_owned(),
    };
    let early = subject.apply(report("a", success()));
    assert!(matches!(refusal(early), Refusal::NotCalled { .. }));
    let unknown = subject.apply(report("z", success()));
    assert!(matches!(refusal(unknown), Refusal::UnknownStep { .. }));
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    for _ in 0..2 {
        let answer = subject.apply(report("a", success()));
        let (sequence, owner) = (2, Some(1));
        assert_eq!(answer, Answer::Acted { sequence, owner });
    }
    let opposite = subject.apply(report("a", failure()));
    assert!(matches!(refusal(opposite), Refusal::NotCalled { .. }));
    subject.append("s", 1, 2, vec![begin(1, Phase::Action)]);
    for _ in 0..2 {
        let answer = subject.apply(report("b", failure()));
        assert!(matches!(answer, Answer::Acted { sequence: 4, .. }));
    }
    let cause = UndoCause::Step(1);
    // Nobody can say that no other call was sent, so the step is undone as well.
    let events = vec![Event::UndoBegun { cause }, begin(1, Phase::Undo)];
    let answer = subject.append("s", 1, 4, events);
    assert!(matches!(answer, Answer::Appended { .. }), "{answer:?}");
    let answer = subject.apply(report("b", failure()));
    assert!(matches!(answer, Answer::Acted { sequence: 6, .. }));
}

/// A saga that is a step of another one starts only while that calls the step, and is undone
/// for ever before it was started when the other one undoes the step.
#[test]
fn a_saga_that_is_a_step_starts_only_while_it_is_called() {
    let mut subject = Subject::new(Limits::default());
    let inner = chain("inner", &["a"]);
    let outer = nested("outer", &inner);
    subject.define(&inner);
    subject.define(&outer);
    subject.own(1, 10, 0);
    subject.start(&outer, "s", Some(1));
    let mut child = start(&inner, "s/inner");
    child.parent = Some(Parent {
        saga: "s".to_owned(),
        step: "inner".to_owned(),
    });
    let child = Command::Start {
        start: child,
        owner: Some(1),
    };
    let undo = act("s/inner", Act::Undo, "saga:s");
    let refused = refusal(subject.apply(child.clone()));
    assert!(matches!(refused, Refusal::NotWanted { .. }));
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    let refused = refusal(subject.apply(undo.clone()));
    assert!(matches!(refused, Refusal::UnknownSaga { .. }));
    let abandoned = Event::Abandoned {
        step: 0,
        reason: crate::saga::event::Reason::Exhausted {
            class: crate::saga::ErrorClass::TimedOut,
            message: String::new(),
        },
    };
    let cause = UndoCause::Step(0);
    let events = vec![abandoned, Event::UndoBegun { cause }, begin(0, Phase::Undo)];
    let answer = subject.append("s", 1, 1, events);
    assert!(matches!(answer, Answer::Appended { .. }), "{answer:?}");
    let (sequence, owner) = (0, None);
    assert_eq!(subject.apply(undo), Answer::Acted { sequence, owner });
    let refused = refusal(subject.apply(child));
    assert!(matches!(refused, Refusal::NotWanted { .. }));
    let stranger = refusal(subject.apply(act("s/inner", Act::Undo, "ann")));
    assert!(matches!(stranger, Refusal::UnknownSaga { .. }));
}

/// A completed saga that is a step of another one is kept, however long the other one takes,
/// and can be undone. Both are forgotten together.
#[test]
fn what_is_a_part_is_kept_as_long_as_the_whole() {
    let limits = Limits {
        retention_ms: 500,
        ..Limits::default()
    };
    let mut subject = Subject::new(limits);
    let inner = chain("inner", &["a"]);
    let outer = nested("outer", &inner);
    subject.define(&inner);
    subject.define(&outer);
    subject.own(1, 10, 0);
    subject.start(&outer, "s", Some(1));
    subject.append("s", 1, 0, vec![begin(0, Phase::Action)]);
    let mut child = start(&inner, "s/inner");
    child.parent = Some(Parent {
        saga: "s".to_owned(),
        step: "inner".to_owned(),
    });
    subject.apply(Command::Start {
        start: child,
        owner: Some(1),
    });
    let done = || vec![succeed(0, Phase::Action), Event::Completed];
    subject.append("s/inner", 1, 0, vec![begin(0, Phase::Action)]);
    subject.append("s/inner", 1, 1, done());
    assert_eq!(subject.ledger.counts(1_000).not_ended, 1);
    subject.now_ms += 10_000;
    let view = subject.ledger.view(subject.now_ms, "s/inner").unwrap();
    assert_eq!(view.record.status(), Status::Completed);
    assert_eq!((view.ended_at_ms, view.owner), (Some(1_000), None));
    // A person cannot undo it, only the saga that it is a step of.
    let refused = refusal(subject.apply(act("s/inner", Act::Undo, "ann")));
    assert!(matches!(refused, Refusal::Illegal(_)));
    let answer = subject.apply(act("s/inner", Act::Undo, "saga:s"));
    assert!(matches!(answer, Answer::Acted { owner: None, .. }));
    assert_eq!(subject.ledger.counts(subject.now_ms).not_ended, 2);
    let taken = subject.own(1, 10, 0).taken;
    assert!(taken.contains(&("s/inner".to_owned(), 2)), "{taken:?}");
    let undone = vec![
        begin(0, Phase::Undo),
        succeed(0, Phase::Undo),
        Event::Undone,
    ];
    let answer = subject.append("s/inner", 2, 4, undone);
    assert!(matches!(answer, Answer::Appended { .. }), "{answer:?}");
    subject.now_ms += 10_000;
    assert!(subject.ledger.view(subject.now_ms, "s/inner").is_some());
    let events = vec![
        Event::Failed {
            step: 0,
            only_call: true,
            message: String::new(),
        },
        Event::UndoBegun {
            cause: UndoCause::Step(0),
        },
        Event::Undone,
    ];
    let answer = subject.append("s", 1, 1, events);
    assert!(matches!(answer, Answer::Appended { .. }), "{answer:?}");
    let nothing = Counts {
        owners: 0,
        definitions: 2,
        ..Counts::default()
    };
    assert_eq!(subject.ledger.counts(subject.now_ms), nothing);
    for (passed_ms, kept) in [(499, true), (1, false)] {
        subject.now_ms += passed_ms;
        for saga in ["s", "s/inner"] {
            let view = subject.ledger.view(subject.now_ms, saga);
            assert_eq!(view.is_some(), kept);
        }
    }
    // The id can be used again.
    let answer = subject.start(&outer, "s", None);
    assert!(matches!(answer, Answer::Started { created: true, .. }));
}

/// Every bound is kept, and a saga at its bounds can still end.
#[test]
fn bounds_are_kept() {
    let limits = Limits {
        sagas_max: 2,
        definitions_max: 1,
        events_max: 2,
        unseen_acts_max: 3,
        retention_ms: 1_000,
    };
    let mut subject = Subject::new(limits);
    let definition = chain("order", &["a", "b"]);
    subject.define(&definition);
    subject.define(&definition);
    let encoded = chain("order", &["a"]).encoded().clone();
    let refused = refusal(subject.apply(Command::Define { encoded }));
    assert_eq!(refused, Refusal::TooManyDefinitions { limit: 1 });
    subject.own(1, 10, 0);
    subject.start(&definition, "s1", Some(1));
    subject.start(&definition, "s2", Some(1));
    let refused = refusal(subject.start(&definition, "s3", Some(1)));
    assert_eq!(refused, Refusal::TooManySagas { limit: 2 });
    let again = |attempt| Event::Started {
        step: 0,
        phase: Phase::Action,
        attempt,
        after: Some(crate::saga::ErrorClass::TimedOut),
    };
    subject.append("s1", 1, 0, vec![begin(0, Phase::Action), again(2)]);
    let refused = refusal(subject.append("s1", 1, 2, vec![again(3)]));
    assert!(matches!(refused, Refusal::TooManyEvents { limit: 2, .. }));
    for _ in 0..3 {
        let answer = subject.apply(act("s1", Act::Retry { step: 0 }, "ann"));
        assert!(matches!(answer, Answer::Acted { .. }), "{answer:?}");
    }
    let refused = refusal(subject.apply(act("s1", Act::Retry { step: 0 }, "ann")));
    assert!(matches!(refused, Refusal::TooManyActs { limit: 3, .. }));
    let events = vec![
        succeed(0, Phase::Action),
        begin(1, Phase::Action),
        succeed(1, Phase::Action),
        Event::Completed,
    ];
    let answer = subject.append("s1", 1, 5, events);
    assert!(matches!(answer, Answer::Appended { sequence: 9 }));
    let answer = subject.start(&definition, "s3", Some(1));
    assert!(matches!(answer, Answer::Started { created: true, .. }));
}

/// Lists are in the order of the ids, page after page, and what has ended is among them.
#[test]
fn lists_go_on_where_they_ended() {
    let mut subject = Subject::new(Limits::default());
    let definition = chain("order", &["a"]);
    let other = chain("other", &["a"]);
    subject.define(&definition);
    subject.define(&other);
    subject.own(1, 10, 0);
    for at in 0..10 {
        let id = format!("s{at}");
        let of = if at % 5 == 4 { &other } else { &definition };
        subject.start(of, &id, Some(1));
        if at % 2 == 0 {
            let events = vec![
                begin(0, Phase::Action),
                succeed(0, Phase::Action),
                Event::Completed,
            ];
            subject.append(&id, 1, 0, events);
        }
    }
    let all = |filter: &Filter, limit: usize| {
        let mut ids = Vec::new();
        let mut after = String::new();
        loop {
            let page = subject.ledger.list(1_000, filter, &after, limit);
            assert!(page.sagas.len() <= limit);
            let sagas = page.sagas.iter().map(|saga| saga.started().saga.clone());
            ids.extend(sagas);
            match page.next {
                Some(next) => after = next,
                None => return ids,
            }
        }
    };
    let expected: Vec<_> = (0..10).map(|at| format!("s{at}")).collect();
    for limit in [1, 3, 10, 100] {
        assert_eq!(all(&Filter::default(), limit), expected);
    }
    let completed = Filter {
        definition: Some("order".to_owned()),
        kinds: vec![Kind::Completed, Kind::Undone],
        stuck: false,
    };
    assert_eq!(all(&completed, 2), ["s0", "s2", "s6", "s8"]);
    let running = Filter {
        kinds: vec![Kind::Running],
        ..Filter::default()
    };
    assert_eq!(all(&running, 2), ["s1", "s3", "s5", "s7", "s9"]);
}

/// The latest definition is the one that was given last, be it an old one.
#[test]
fn an_old_definition_can_be_the_latest_again() {
    let mut subject = Subject::new(Limits::default());
    let (first, second) = (chain("order", &["a"]), chain("order", &["b"]));
    for definition in [&first, &second, &first] {
        subject.define(definition);
        let latest = subject.ledger.definition("order", None).unwrap();
        assert_eq!(latest.version(), definition.version());
    }
    let versions = subject.ledger.definitions(Some("order"));
    assert_eq!(versions.len(), 2);
    let latest = versions.iter().filter(|one| one.latest);
    let latest: Vec<_> = latest.map(|one| one.definition.version()).collect();
    assert_eq!(latest, [first.version()]);
    assert_eq!(subject.ledger.definitions(None).len(), 1);
}
