use std::sync::Arc;

use super::{
    Action, Attempts, Definition, Delivery, Draft, DraftStep, LoadError, Mode, Retry, RetryPolicy,
    Target, Undo, Version,
};
use crate::saga::{ErrorClass, Phase, mapping::Mapping};

fn call(path: &str) -> Action {
    Action::new(Target::Http {
        url: format!("http://stock:8080/{path}"),
    })
}

fn step(name: &str) -> DraftStep {
    let undo = Undo::Call(call(&format!("undo-{name}")));
    DraftStep::new(name, call(name), undo)
}

fn saga(steps: Vec<DraftStep>) -> Draft {
    let mut draft = Draft::new("order", Mode::Saga);
    draft.steps = steps;
    draft
}

fn order() -> Draft {
    let mut charge = step("charge").after(&["reserve", "debit"]);
    let mapping = r#"{"order": {"$ref": "input#/id"}, "stock": {"$ref": "steps/reserve#/id"}}"#;
    charge.action.input = Some(Mapping::parse(mapping).unwrap());
    charge.pivot = true;
    charge.undo = Undo::Unspecified;
    let mut confirm = step("confirm").after(&["charge"]);
    confirm.undo = Undo::Unspecified;
    let mut draft = saga(vec![confirm, charge, step("reserve"), step("debit")]);
    draft.deadline_ms = Some(60_000);
    draft.output = Some(Mapping::parse(r#"{"$ref": "steps/charge#/receipt"}"#).unwrap());
    draft.deliveries = vec![Delivery::Message {
        topic: "orders-done".to_owned(),
        tag: String::new(),
    }];
    draft
}

#[test]
fn equal_content_has_one_version_in_whatever_order_it_is_written() {
    let definition = Definition::new(order()).unwrap();
    let names: Vec<_> = definition.steps().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["debit", "reserve", "charge", "confirm"]);

    let mut turned = order();
    turned.steps.reverse();
    turned.steps[2].depends_on.reverse();
    turned.steps[2].action.retry = Retry {
        otherwise: RetryPolicy {
            attempts: Attempts::AtMost(16),
            ..RetryPolicy::DEFAULT
        },
        ..Retry::default()
    };
    let turned = Definition::new(turned).unwrap();
    assert_eq!(turned, definition);

    let mut other = order();
    other.steps[0].action.timeout_ms += 1;
    let other = Definition::new(other).unwrap();
    assert_ne!(other.version(), definition.version());
    // What is stored under this version must be found under it for ever.
    assert_eq!(
        definition.version().to_string(),
        "c1b926258c410c2c5bf8701be61fa0bd"
    );
    assert_eq!(
        definition.version().to_string().parse(),
        Ok(definition.version())
    );
    assert!("12".parse::<Version>().is_err());
}

#[test]
fn a_definition_is_read_back_from_its_bytes_and_damage_is_noticed() {
    let mut tcc = Draft::new("points", Mode::Tcc);
    tcc.steps = vec![step("try")];
    tcc.steps[0].confirm = Some(call("confirm"));
    let mut outer = saga(vec![step("inner"), step("question").after(&["inner"])]);
    outer.steps[0].action.target = Target::Saga {
        definition: "order".to_owned(),
        version: Version(7 << 100),
    };
    outer.steps[0].undo = Undo::Unspecified;
    outer.steps[1].undo = Undo::Nothing;
    for draft in [order(), tcc, outer] {
        let definition = Definition::new(draft).unwrap();
        let encoded = definition.encoded();
        assert_eq!(Definition::decode(encoded.clone()), Ok(definition.clone()));
        for length in 0..encoded.len() {
            assert!(Definition::decode(encoded.slice(..length)).is_err());
        }
        for at in 0..encoded.len() {
            let mut bytes = encoded.to_vec();
            bytes[at] ^= 1;
            // Another legal definition, or an error; never the same one, never a panic.
            if let Ok(other) = Definition::decode(bytes.into()) {
                assert_ne!(other.version(), definition.version());
            }
        }
    }
    let newer = Definition::decode(vec![9].into()).unwrap_err();
    assert!(matches!(newer, LoadError::Bytes(_)));
    assert!(newer.to_string().contains("version 9"));
}

#[test]
fn what_must_succeed_is_repeated_without_end() {
    let definition = Definition::new(order()).unwrap();
    let attempts = |name: &str, phase, class| {
        let step = definition.index_of(name).unwrap();
        definition
            .action(step, phase)
            .unwrap()
            .retry
            .policy(class)
            .attempts
    };
    let (action, undo) = (Phase::Action, Phase::Undo);
    let (timed_out, ongoing) = (ErrorClass::TimedOut, ErrorClass::Ongoing);
    assert_eq!(attempts("reserve", action, timed_out), Attempts::AtMost(16));
    assert_eq!(
        attempts("reserve", action, ongoing),
        Attempts::AtMost(2_880)
    );
    assert_eq!(attempts("reserve", undo, timed_out), Attempts::Unbounded);
    assert_eq!(attempts("charge", action, timed_out), Attempts::AtMost(16));
    assert_eq!(attempts("confirm", action, timed_out), Attempts::Unbounded);
}

fn refused(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = saga(vec![step("reserve"), step("charge").after(&["reserve"])]);
    change(&mut draft);
    Definition::new(draft).unwrap_err().to_string()
}

#[test]
fn every_fault_names_the_step_and_the_field() {
    type Change = Box<dyn FnOnce(&mut Draft)>;
    let cases: Vec<(&str, Change)> = vec![
        ("name is empty", Box::new(|d| d.name.clear())),
        (
            "steps: 0 steps, 1 to 128 are allowed",
            Box::new(|d| d.steps.clear()),
        ),
        (
            "steps: 129 steps, 1 to 128 are allowed",
            Box::new(|d| d.steps = (0..129).map(|n| step(&format!("s{n}"))).collect()),
        ),
        (
            "step \"charge\": name: another step has the same name",
            Box::new(|d| d.steps.push(step("charge"))),
        ),
        (
            "step \"a b\": name has the character ' '",
            Box::new(|d| d.steps[0].name = "a b".to_owned()),
        ),
        (
            "name has 65 characters, at most 64",
            Box::new(|d| d.steps[0].name = "n".repeat(65)),
        ),
        (
            "step \"charge\": depends_on: there is no step \"stock\"",
            Box::new(|d| d.steps[1].depends_on[0] = "stock".to_owned()),
        ),
        (
            "step \"charge\": depends_on: \"reserve\" is there twice",
            Box::new(|d| d.steps[1].depends_on.push("reserve".to_owned())),
        ),
        (
            "step \"charge\": depends_on: the steps wait for each other: charge -> reserve -> charge",
            Box::new(|d| d.steps[0].depends_on.push("charge".to_owned())),
        ),
        (
            "step \"charge\": undo is missing",
            Box::new(|d| d.steps[1].undo = Undo::Unspecified),
        ),
        (
            "step \"charge\": undo can never run, because the step comes after the pivot \"reserve\"",
            Box::new(|d| d.steps[0].pivot = true),
        ),
        (
            "step \"charge\": pivot: \"reserve\" is the pivot already",
            Box::new(|d| d.steps.iter_mut().for_each(|step| step.pivot = true)),
        ),
        (
            "step \"beside\": depends_on: the step runs beside the pivot \"charge\"",
            Box::new(|d| {
                d.steps[1].pivot = true;
                d.steps.push(step("beside"));
            }),
        ),
        (
            "step \"charge\": pivot: TCC has no pivot",
            Box::new(|d| {
                d.mode = Mode::Tcc;
                d.steps[1].pivot = true;
            }),
        ),
        (
            "step \"reserve\": confirm is missing",
            Box::new(|d| d.mode = Mode::Tcc),
        ),
        (
            "step \"charge\": confirm is for TCC only",
            Box::new(|d| d.steps[1].confirm = Some(call("confirm"))),
        ),
        (
            "step \"reserve\": undo: a saga cannot",
            Box::new(|d| {
                d.steps[0].undo = Undo::Call(Action::new(Target::Saga {
                    definition: "d".to_owned(),
                    version: Version(1),
                }));
            }),
        ),
        (
            "step \"charge\": action.timeout_ms is 3600001, 10 to 3600000 is allowed",
            Box::new(|d| d.steps[1].action.timeout_ms = 3_600_001),
        ),
        (
            "step \"charge\": action.retry.ongoing.base_ms is 70000, 1 to 60000 is allowed",
            Box::new(|d| {
                let classes = &mut d.steps[1].action.retry.classes;
                classes.get_mut(&ErrorClass::Ongoing).unwrap().base_ms = 70_000;
            }),
        ),
        (
            "step \"charge\": action.retry.attempts_max is 0",
            Box::new(|d| d.steps[1].action.retry.otherwise.attempts = Attempts::AtMost(0)),
        ),
        (
            "step \"charge\": action: \"stock:8080\" is not an address",
            Box::new(|d| {
                d.steps[1].action.target = Target::Http {
                    url: "stock:8080".to_owned(),
                };
            }),
        ),
        (
            "step \"charge\": undo: topic is empty",
            Box::new(|d| {
                d.steps[1].undo = Undo::Call(Action::new(Target::Message {
                    topic: String::new(),
                    tag: String::new(),
                }));
            }),
        ),
        (
            "step \"reserve\": action.input refers to the output of \"charge\"",
            Box::new(|d| d.steps[0].action.input = Some(output_of("charge"))),
        ),
        (
            "step \"charge\": action.input refers to the output of \"charge\", which is not surely",
            Box::new(|d| d.steps[1].action.input = Some(output_of("charge"))),
        ),
        (
            "step \"charge\": undo.input refers to the output of its own action without a default",
            Box::new(|d| {
                let mut undo = call("undo");
                undo.input = Some(output_of("charge"));
                d.steps[1].undo = Undo::Call(undo);
            }),
        ),
        (
            "output refers to the step \"nowhere\", which does not exist",
            Box::new(|d| d.output = Some(output_of("nowhere"))),
        ),
        (
            "deadline_ms is 0, 1 to 31536000000 is allowed",
            Box::new(|d| d.deadline_ms = Some(0)),
        ),
        (
            "payload_bytes_max is 4194305, 1 to 4194304 is allowed",
            Box::new(|d| d.payload_bytes_max = 4_194_305),
        ),
        (
            "deliveries: \"https://\" is not an address",
            Box::new(|d| {
                d.deliveries = vec![Delivery::Webhook {
                    url: "https://".to_owned(),
                }];
            }),
        ),
        (
            "the definition has",
            Box::new(|d| {
                let text = format!("\"{}\"", "x".repeat(256 * 1024));
                d.steps[0].action.input = Some(Mapping::parse(&text).unwrap());
            }),
        ),
    ];
    for (expected, change) in cases {
        let message = refused(change);
        assert!(
            message.starts_with(expected) || message.contains(expected),
            "{message}"
        );
    }
}

fn output_of(step: &str) -> Mapping {
    Mapping::parse(&format!(r#"{{"id": {{"$ref": "steps/{step}#/id"}}}}"#)).unwrap()
}

#[test]
fn sagas_as_steps_must_exist_be_undoable_and_not_nest_too_deeply() {
    let outer = |inner: &Definition, undo: Undo| {
        let mut draft = saga(vec![step("inner")]);
        draft.steps[0].undo = undo;
        draft.steps[0].action.target = Target::Saga {
            definition: inner.name().to_owned(),
            version: inner.version(),
        };
        Definition::new(draft).unwrap()
    };
    let plain = Definition::new(saga(vec![step("a")])).unwrap();
    let pivoted = Definition::new(order()).unwrap();
    let mut known = vec![Arc::new(plain.clone()), Arc::new(pivoted.clone())];
    let check = |definition: &Definition, known: &[Arc<Definition>]| {
        let find = |_: &str, version| known.iter().find(|d| d.version() == version).cloned();
        definition.check_sub_sagas(&find).map_err(|e| e.to_string())
    };

    assert_eq!(check(&outer(&plain, Undo::Unspecified), &known), Ok(()));
    assert_eq!(check(&outer(&pivoted, Undo::Nothing), &known), Ok(()));
    let error = check(&outer(&pivoted, Undo::Unspecified), &known).unwrap_err();
    assert!(error.starts_with("step \"inner\": action: \"order\" cannot be undone"));
    let error = check(&outer(&plain, Undo::Unspecified), &[]).unwrap_err();
    assert!(error.starts_with("step \"inner\": action: there is no definition \"order\""));

    let mut innermost = plain;
    let deepest = (0..6).find_map(|depth| {
        let next = outer(&innermost, Undo::Unspecified);
        known.push(Arc::new(next.clone()));
        innermost = next;
        check(&innermost, &known).err().map(|error| (depth, error))
    });
    let (depth, error) = deepest.unwrap();
    assert_eq!(depth, 3);
    assert!(error.ends_with("sagas are nested more than 4 deep"));
}
