//! The kinds of sagas that there are in a world.

use std::{collections::BTreeMap, sync::Arc};

use outrigger_core::saga::{
    Definition, ErrorClass,
    definition::{
        Action, Attempts, Delivery, Draft, DraftStep, Error, Mode, Retry, RetryPolicy, Target, Undo,
    },
};

/// How long one call may take.
const CALL_TIMEOUT_MS: u64 = 150;
/// How long a saga that is a step may take until it is asked for again.
const SAGA_TIMEOUT_MS: u64 = 1_500;
/// After so long a hurried saga is undone.
const HURRY_MS: u64 = 250;

/// All of them, in the order in which they are defined: a saga that is a step of another one
/// comes first.
pub(super) fn all() -> Result<Vec<Arc<Definition>>, Error> {
    let order = order()?;
    let errand = errand(&order)?;
    Ok(vec![
        Arc::clone(&order),
        trip()?,
        reservation()?,
        hurry()?,
        letter()?,
        Arc::clone(&errand),
        round(&order, &errand)?,
    ])
}

/// One step after the other.
fn order() -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("order", Mode::Saga);
    draft.steps = vec![
        step("stock"),
        step("points").after(&["stock"]),
        step("payment").after(&["points"]),
    ];
    made(draft)
}

/// Steps side by side, a point of no return, and one step after it.
fn trip() -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("trip", Mode::Saga);
    let mut ask = step("ask");
    ask.undo = Undo::Nothing;
    let mut pay = DraftStep::new("pay", call("pay", at_most(3)), Undo::Unspecified)
        .after(&["hotel", "flight"]);
    pay.undo = Undo::Call(call("pay", Attempts::ByPosition));
    pay.pivot = true;
    let tickets = call("tickets", Attempts::ByPosition);
    draft.steps = vec![
        ask,
        step("hotel").after(&["ask"]),
        step("flight"),
        pay,
        DraftStep::new("tickets", tickets, Undo::Unspecified).after(&["pay"]),
    ];
    draft.deliveries = vec![Delivery::Webhook {
        url: url("results"),
    }];
    made(draft)
}

/// Try, then confirm or cancel.
fn reservation() -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("reservation", Mode::Tcc);
    let reserve = |name: &str| {
        let mut step = step(name);
        step.confirm = Some(call(name, Attempts::ByPosition));
        step
    };
    draft.steps = vec![
        reserve("seat"),
        reserve("meal"),
        reserve("money").after(&["seat"]),
    ];
    made(draft)
}

/// Hardly ever done in time.
fn hurry() -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("hurry", Mode::Saga);
    draft.deadline_ms = Some(HURRY_MS);
    draft.steps = vec![
        step("first"),
        step("second").after(&["first"]),
        step("third").after(&["first"]),
        step("fourth").after(&["second", "third"]),
    ];
    made(draft)
}

/// Steps that are asked for with messages, and answered later.
fn letter() -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("letter", Mode::Saga);
    let message = |attempts| Action {
        target: Target::Message {
            topic: "letters".to_owned(),
            tag: String::new(),
        },
        ..call("letters", attempts)
    };
    let undo = Undo::Call(message(Attempts::ByPosition));
    draft.steps = vec![
        step("stamp"),
        DraftStep::new("post", message(at_most(4)), undo).after(&["stamp"]),
        step("file").after(&["post"]),
    ];
    draft.deliveries = vec![Delivery::Message {
        topic: "results".to_owned(),
        tag: String::new(),
    }];
    made(draft)
}

/// With a saga of its own in the middle.
fn errand(order: &Definition) -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("errand", Mode::Saga);
    draft.steps = vec![
        step("leave"),
        sub_saga("buy", order).after(&["leave"]),
        step("return").after(&["buy"]),
    ];
    made(draft)
}

/// Sagas in sagas, side by side.
fn round(order: &Definition, errand: &Definition) -> Result<Arc<Definition>, Error> {
    let mut draft = Draft::new("round", Mode::Saga);
    draft.steps = vec![
        sub_saga("near", order),
        sub_saga("far", errand),
        step("rest").after(&["near"]),
    ];
    made(draft)
}

fn made(draft: Draft) -> Result<Arc<Definition>, Error> {
    Definition::new(draft).map(Arc::new)
}

/// A step that is called, and can be undone.
fn step(name: &str) -> DraftStep {
    let undo = Undo::Call(call(name, Attempts::ByPosition));
    DraftStep::new(name, call(name, at_most(4)), undo)
}

fn sub_saga(name: &str, definition: &Definition) -> DraftStep {
    let target = Target::Saga {
        definition: definition.name().to_owned(),
        version: definition.version(),
    };
    let action = Action {
        timeout_ms: SAGA_TIMEOUT_MS,
        target,
        ..call(name, Attempts::AtMost(6))
    };
    DraftStep::new(name, action, Undo::Unspecified)
}

fn at_most(count: u32) -> Attempts {
    Attempts::AtMost(count)
}

fn call(host: &str, attempts: Attempts) -> Action {
    let policy = RetryPolicy {
        base_ms: 20,
        cap_ms: 150,
        attempts,
    };
    Action {
        timeout_ms: CALL_TIMEOUT_MS,
        retry: Retry {
            otherwise: policy,
            classes: BTreeMap::from([(ErrorClass::Ongoing, policy)]),
        },
        ..Action::new(Target::Http { url: url(host) })
    }
}

fn url(host: &str) -> String {
    format!("http://{host}:80/")
}
