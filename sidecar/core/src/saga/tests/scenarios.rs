//! Single sagas, step by step.

use std::sync::Arc;

use bytes::Bytes;

use super::call;
use crate::saga::{
    Call, Definition, Effect, ErrorClass, Input, Outcome, Phase, Record, Saga,
    definition::{Action, Attempts, Delivery, Draft, DraftStep, Mode, Target, Undo},
    event::{Act, Event, Note, Parent, Start},
    mapping::Mapping,
    record::{Illegal, ResultState, Stage, Status, StepState},
    recovery::plan,
};

/// An owner whose events are durable at once.
struct Run {
    saga: Saga,
    now_ms: u64,
    appends: usize,
    calls: Vec<Call>,
    delivering: bool,
}

impl Run {
    fn new(draft: Draft) -> Self {
        Self::started(draft, |_| {})
    }

    fn started(draft: Draft, change: impl FnOnce(&mut Start)) -> Self {
        let definition = Arc::new(Definition::new(draft).unwrap());
        let mut start = Start {
            saga: "s".to_owned(),
            definition: definition.name().to_owned(),
            version: definition.version(),
            input: Bytes::from_static(br#"{"order": {"id": 17}}"#),
            start_at_ms: 0,
            deadline_at_ms: definition.deadline_ms(),
            parent: None,
        };
        change(&mut start);
        let mut run = Self {
            saga: Saga::recover(Record::start(definition, start).unwrap()),
            now_ms: 0,
            appends: 0,
            calls: Vec::new(),
            delivering: false,
        };
        run.step(Input::Tick);
        run
    }

    fn step(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut effects = Vec::new();
            self.saga
                .step(self.now_ms, u64::MAX, input, &mut effects)
                .unwrap();
            for effect in effects {
                match effect {
                    Effect::Append { after, events } => {
                        self.appends += 1;
                        for (sequence, event) in (after + 1..).zip(&events) {
                            assert_eq!(self.saga.apply(sequence, event), Ok(true));
                        }
                        next = Some(Input::Appended);
                    }
                    Effect::Call(call) => self.calls.push(call),
                    Effect::Deliver { .. } => self.delivering = true,
                }
            }
        }
    }

    fn call(&mut self) -> Call {
        assert_eq!(self.calls.len(), 1, "{:?}", self.calls);
        self.calls.remove(0)
    }

    fn ended(&mut self, call: &Call, outcome: Outcome) {
        self.step(Input::Ended {
            step: call.step,
            phase: call.phase,
            attempt: call.attempt,
            outcome,
        });
    }

    fn succeed(&mut self, output: &'static str) -> Call {
        let call = self.call();
        let output = Bytes::from_static(output.as_bytes());
        self.ended(&call, Outcome::Success { output });
        call
    }

    fn refuse(&mut self) {
        let call = self.call();
        let message = "out of stock".to_owned();
        self.ended(&call, Outcome::Failure { message });
    }

    fn unsettled(&mut self, class: ErrorClass) {
        let call = self.call();
        self.ended(
            &call,
            Outcome::Unsettled {
                class,
                message: String::new(),
                retry_after_ms: None,
            },
        );
    }

    fn wait(&mut self) -> u64 {
        let before = self.now_ms;
        self.now_ms = self.saga.next_deadline().unwrap();
        self.step(Input::Tick);
        self.now_ms - before
    }

    fn by_hand(&mut self, act: Act) -> Result<(), Illegal> {
        let event = Event::ByHand {
            act,
            note: note("anna", "why not"),
        };
        self.saga.record().check(&event)?;
        let sequence = self.saga.record().sequence() + 1;
        self.saga.apply(sequence, &event).unwrap();
        self.step(Input::Tick);
        Ok(())
    }

    fn status(&self) -> Status {
        self.saga.record().status()
    }
}

fn note(by: &str, reason: &str) -> Note {
    Note {
        by: by.to_owned(),
        reason: reason.to_owned(),
    }
}

fn step(name: &str) -> DraftStep {
    let undo = Undo::Call(call(Attempts::ByPosition));
    DraftStep::new(name, call(Attempts::ByPosition), undo)
}

fn saga(steps: Vec<DraftStep>) -> Draft {
    let mut draft = Draft::new("order", Mode::Saga);
    draft.steps = steps;
    draft
}

fn two_steps() -> Draft {
    saga(vec![step("reserve"), step("charge").after(&["reserve"])])
}

fn with_pivot() -> Draft {
    let mut draft = two_steps();
    draft.steps[0].pivot = true;
    draft.steps[1].undo = Undo::Unspecified;
    draft
}

#[test]
fn two_steps_take_three_appends_and_give_their_outputs_back() {
    let mut run = Run::new(two_steps());
    let first = run.succeed(r#"{"id": "R-1"}"#);
    assert_eq!(first.idempotency_key, "s/reserve/action");
    run.succeed("no JSON");
    assert_eq!((run.status(), run.appends), (Status::Completed, 3));
    assert!(run.saga.is_finished() && run.saga.next_deadline().is_none());
    let result = run.saga.record().result().unwrap().unwrap();
    assert_eq!(result, r#"{"reserve":{"id": "R-1"},"charge":null}"#);
}

#[test]
fn an_undo_gets_what_its_action_got_and_gave() {
    let mut draft = two_steps();
    let mapping = r#"{"id": {"$ref": "input#/order/id"}}"#;
    draft.steps[0].action.input = Some(Mapping::parse(mapping).unwrap());
    let mut run = Run::new(draft);
    run.succeed(r#""R-1""#);
    run.refuse();
    let undo = run.succeed("ignored");
    assert_eq!((undo.step, undo.phase), (0, Phase::Undo));
    assert_eq!(undo.payload, r#"{"id":17}"#);
    assert_eq!(undo.action_output.as_deref(), Some(br#""R-1""#.as_slice()));
    assert_eq!(run.status(), Status::Undone);
}

#[test]
fn an_input_that_cannot_be_made_fails_the_step_or_waits_for_a_person() {
    let mapping = Mapping::parse(r#"[{"$ref": "steps/reserve#/id"}]"#).unwrap();
    let mut draft = two_steps();
    draft.steps[1].action.input = Some(mapping.clone());
    let mut run = Run::new(draft);
    run.succeed("{}");
    // It was never called, so only the other step is undone.
    run.succeed("");
    assert_eq!(run.status(), Status::Undone);

    let mut draft = with_pivot();
    draft.steps[1].action.input = Some(mapping);
    let mut run = Run::new(draft);
    run.succeed("{}");
    let parked = Status::Parked {
        stage: Stage::Forward,
        by_hand: false,
    };
    assert_eq!(run.status(), parked);
    let undo = run.by_hand(Act::Undo).unwrap_err().to_string();
    assert!(
        undo.contains("point of no return, step \"reserve\""),
        "{undo}"
    );
    let input = Bytes::from_static(b"[18]");
    let phase = Phase::Action;
    run.by_hand(Act::EditInput {
        step: 1,
        phase,
        input,
    })
    .unwrap();
    run.by_hand(Act::Retry { step: 1 }).unwrap();
    let call = run.succeed("");
    assert_eq!(call.payload, "[18]");
    // A refusal is final for its key.
    assert_eq!(call.idempotency_key, "s/charge/action/1");
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn waits_grow_to_the_cap_and_what_is_ongoing_for_ever_is_given_up() {
    let mut run = Run::new(two_steps());
    let mut waited = Vec::new();
    for _ in 1..16 {
        run.unsettled(ErrorClass::TimedOut);
        waited.push(run.wait());
    }
    assert_eq!(waited[..4], [200, 400, 800, 1_600]);
    assert_eq!(waited[14], 30_000);
    // Asking whether it is done is counted apart.
    for _ in 1..2_880 {
        run.unsettled(ErrorClass::Ongoing);
        assert!(run.wait() <= 60_000);
    }
    assert_eq!(run.status(), Status::Working(Stage::Forward));
    run.unsettled(ErrorClass::Ongoing);
    assert_eq!(
        run.saga.record().steps()[0].state(),
        StepState::Calling(Phase::Undo)
    );
    // An undo is never given up.
    for _ in 0..5_000 {
        run.unsettled(ErrorClass::Unreachable);
        assert!(run.wait() <= 30_000);
    }
    run.succeed("");
    assert_eq!(run.status(), Status::Undone);
}

#[test]
fn what_gives_too_much_back_has_happened_and_is_undone() {
    let mut draft = two_steps();
    draft.payload_bytes_max = 1_000;
    let mut run = Run::new(draft);
    let call = run.call();
    let output = Bytes::from(vec![b' '; 1_001]);
    run.ended(&call, Outcome::Success { output });
    let undo = run.succeed("");
    assert_eq!((undo.step, undo.phase), (0, Phase::Undo));
    let record = run.saga.record();
    assert_eq!(record.status(), Status::Undone);
    assert!(format!("{:?}", record.steps()[0].reason()).contains("bytes: 1001, limit: 1000"));
}

/// The time of the start comes from the log, and clocks differ.
#[test]
fn an_owner_whose_clock_is_behind_goes_on_with_what_has_begun() {
    let mut run = Run::started(two_steps(), |start| start.start_at_ms = 5_000);
    assert!(run.calls.is_empty());
    assert_eq!(run.saga.next_deadline(), Some(5_000));
    run.now_ms = 5_000;
    run.step(Input::Tick);
    run.now_ms = 4_900;
    run.succeed("1");
    run.succeed("2");
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_deadline_undoes_before_the_pivot_and_not_after() {
    let mut draft = two_steps();
    draft.deadline_ms = Some(15_000);
    let mut run = Run::started(draft, |start| {
        start.start_at_ms = 5_000;
        start.deadline_at_ms = Some(12_000);
    });
    assert!(run.calls.is_empty());
    assert_eq!(run.wait(), 5_000);
    run.succeed("");
    let under_way = run.call();
    run.now_ms = 12_000;
    run.step(Input::Tick);
    // Nothing is undone while a call is under way, and late success is undone.
    assert!(run.calls.is_empty());
    assert_eq!(run.status(), Status::Working(Stage::Undo));
    let output = Bytes::new();
    run.ended(&under_way, Outcome::Success { output });
    assert_eq!(run.succeed("").step, 1);
    assert_eq!(run.succeed("").step, 0);
    assert_eq!(run.status(), Status::Undone);

    let mut draft = with_pivot();
    draft.deadline_ms = Some(15_000);
    let mut run = Run::new(draft);
    run.now_ms = 14_000;
    run.step(Input::Tick);
    let pivot = run.call();
    run.now_ms = 15_001;
    run.ended(
        &pivot,
        Outcome::Success {
            output: Bytes::new(),
        },
    );
    run.succeed("");
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_pivot_of_which_nobody_knows_the_outcome_is_never_guessed() {
    let mut draft = with_pivot();
    draft.steps[0].action = call(Attempts::AtMost(1));
    draft.steps[0].undo = Undo::Unspecified;
    let mut run = Run::new(draft);
    run.unsettled(ErrorClass::TimedOut);
    assert!(matches!(run.status(), Status::Parked { .. }));
    let undo = run.by_hand(Act::Undo).unwrap_err();
    assert!(matches!(undo, Illegal::PivotUnsettled { .. }));
    run.by_hand(Act::Resume).unwrap();
    let again = run.succeed("");
    assert_eq!(
        (again.attempt, again.idempotency_key.as_str()),
        (2, "s/reserve/action")
    );
    run.succeed("");
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn tcc_tries_all_then_confirms_all_at_once() {
    let mut draft = two_steps();
    draft.mode = Mode::Tcc;
    for step in &mut draft.steps {
        step.confirm = Some(call(Attempts::ByPosition));
    }
    let mut run = Run::new(draft);
    run.succeed("");
    run.succeed("");
    assert_eq!(run.status(), Status::Working(Stage::Confirm));
    assert_eq!(run.by_hand(Act::Undo), Err(Illegal::Confirming));
    let confirms = std::mem::take(&mut run.calls);
    assert_eq!(confirms.len(), 2);
    for confirm in confirms {
        assert_eq!(confirm.phase, Phase::Confirm);
        let output = Bytes::new();
        run.ended(&confirm, Outcome::Success { output });
    }
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_result_is_delivered_until_it_has_arrived_or_is_given_up() {
    let mut draft = saga(vec![step("reserve")]);
    draft.deliveries = vec![Delivery::Webhook {
        url: "https://shop/done".to_owned(),
    }];
    for failures in [3, 64] {
        let mut run = Run::new(draft.clone());
        run.succeed("");
        for _ in 0..failures {
            assert!(std::mem::take(&mut run.delivering));
            assert!(!run.saga.is_finished());
            let delivered = Err("503".to_owned());
            run.step(Input::DeliveryEnded { delivered });
            if !run.saga.is_finished() {
                assert!(run.wait() <= 30_000);
            }
        }
        if failures == 3 {
            // A new owner does not know whether it has arrived.
            assert!(plan(run.saga.record().clone(), 0).unwrap().deliver);
            run.step(Input::DeliveryEnded { delivered: Ok(()) });
        }
        assert!(run.saga.is_finished());
        let state = run.saga.record().result_state();
        let expected = match failures {
            3 => ResultState::Delivered,
            _ => ResultState::GivenUp,
        };
        assert_eq!(state, expected);
    }
}

#[test]
fn a_completed_part_is_undone_by_the_whole_and_by_nobody_else() {
    let mut run = Run::started(saga(vec![step("reserve")]), |start| {
        start.parent = Some(Parent {
            saga: "month".to_owned(),
            step: "order".to_owned(),
        });
    });
    run.succeed("");
    assert_eq!(run.by_hand(Act::Undo), Err(Illegal::Completed));
    let event = Event::ByHand {
        act: Act::Undo,
        note: note("saga:month", "step \"pay\" failed"),
    };
    let sequence = run.saga.record().sequence() + 1;
    run.saga.apply(sequence, &event).unwrap();
    run.step(Input::Tick);
    run.succeed("");
    assert_eq!(run.status(), Status::Undone);

    // In the whole, the part is a step like any other.
    let mut whole = saga(vec![step("order"), step("pay").after(&["order"])]);
    whole.steps[0].undo = Undo::Unspecified;
    whole.steps[0].action = Action::new(Target::Saga {
        definition: "order".to_owned(),
        version: run.saga.record().definition().version(),
    });
    let mut run = Run::new(whole);
    run.succeed("");
    run.refuse();
    let undo = run.succeed("");
    let definition = run.saga.record().definition();
    let target = &definition.action(undo.step, undo.phase).unwrap().target;
    assert!(matches!(target, Target::Saga { .. }));
}

#[test]
fn nothing_is_done_by_hand_without_a_reason_or_out_of_turn() {
    let mut run = Run::new(two_steps());
    for (by, reason, field) in [("anna", " ", "reason"), ("", "why not", "by")] {
        let event = Event::ByHand {
            act: Act::Park,
            note: note(by, reason),
        };
        let illegal = run.saga.record().check(&event);
        assert_eq!(illegal, Err(Illegal::Empty { field }));
    }
    let skip = |step| Act::Skip {
        step,
        phase: Phase::Action,
        output: Bytes::new(),
    };
    // Not parked; then parked, but not its turn.
    assert!(run.by_hand(skip(0)).is_err());
    run.by_hand(Act::Park).unwrap();
    assert!(matches!(
        run.by_hand(skip(1)),
        Err(Illegal::Dependency { .. })
    ));
    assert!(run.by_hand(Act::Park).is_err());
    assert!(run.by_hand(Act::Retry { step: 7 }).is_err());
    // A parked saga takes note of what comes in, and begins nothing.
    run.succeed("");
    assert_eq!(run.saga.record().steps()[0].state(), StepState::Succeeded);
    assert!(run.calls.is_empty());
    run.by_hand(skip(1)).unwrap();
    assert!(run.by_hand(skip(1)).is_err());
    run.by_hand(Act::Resume).unwrap();
    assert_eq!(run.status(), Status::Completed);
    for act in [Act::Resume, Act::Park, Act::Undo, Act::Retry { step: 0 }] {
        assert!(run.by_hand(act).is_err());
    }
}

#[test]
fn what_no_call_can_have_brought_about_is_refused() {
    let mut run = Run::new(two_steps());
    let outcome = Outcome::Success {
        output: Bytes::new(),
    };
    for (step, phase, attempt) in [
        (1, Phase::Action, 1),
        (0, Phase::Action, 2),
        (0, Phase::Action, 0),
        (9, Phase::Action, 1),
    ] {
        let input = Input::Ended {
            step,
            phase,
            attempt,
            outcome: outcome.clone(),
        };
        let refused = run.saga.step(0, 0, input, &mut Vec::new());
        assert!(refused.is_err(), "{step} {phase:?} {attempt}");
    }
    // An event that is known changes nothing, one from the future is refused.
    assert_eq!(run.saga.apply(1, &Event::Completed), Ok(false));
    assert!(run.saga.apply(3, &Event::Completed).is_err());
    assert!(run.saga.apply(2, &Event::Completed).is_err());
    run.succeed("");
}
