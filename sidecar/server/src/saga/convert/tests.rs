//! The SDK and the sidecar say the same about the same fault.

use std::time::Duration;

use outrigger_proto::v1::{SagaCall, SagaDefinition, SagaMode, saga_step::UndoOrNothing};
use outrigger_sdk::saga::{self, Endpoint, Value};

use super::definition;

fn order() -> SagaDefinition {
    let mut order = saga::define::<u64>("order").deadline(Duration::from_secs(600));
    let input = order.input();
    let call = |path: &str| Endpoint::<u64, u64>::http(format!("http://stock/{path}"));
    let undo = |path: &str| Endpoint::http(format!("http://stock/{path}"));
    let reserve = order.step("reserve", call("reserve"), &input);
    let own = reserve.own_output().or(&0).unwrap();
    let reserve = reserve.undo_with(undo("release"), &own).add();
    let charge = Value::object().field("of", &reserve.output()).build();
    let charge = order.step("charge", call("charge"), &charge);
    charge.undo(undo("refund")).add();
    order.build().unwrap()
}

fn undo(definition: &mut SagaDefinition, step: usize) -> &mut SagaCall {
    match &mut definition.steps[step].undo_or_nothing {
        Some(UndoOrNothing::Undo(undo)) => undo,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_sdk_builds_is_what_the_sidecar_takes() {
    let checked = definition(&order(), &|_| None).unwrap();
    assert_eq!(checked.steps().len(), 2);
    assert_eq!(checked.deadline_ms(), Some(600_000));
}

#[test]
fn the_sdk_refuses_in_the_words_of_the_sidecar() {
    type Change = fn(&mut SagaDefinition);
    let changes: [Change; 18] = [
        |d| d.name = "order/1".to_owned(),
        |d| d.name.clear(),
        |d| d.steps.clear(),
        |d| d.deadline_ms = u64::MAX,
        |d| d.payload_bytes_max = u32::MAX,
        |d| d.steps[0].name = "n".repeat(65),
        |d| d.steps[1].name = "reserve".to_owned(),
        |d| d.steps[1].depends_on.push("stock".to_owned()),
        |d| d.steps[0].depends_on.push("charge".to_owned()),
        |d| d.steps[0].undo_or_nothing = None,
        |d| d.steps[0].pivot = true,
        |d| d.steps.iter_mut().for_each(|step| step.pivot = true),
        |d| {
            d.steps[0].pivot = true;
            d.steps[1].depends_on.clear();
            d.steps[1].action.as_mut().unwrap().input.clear();
        },
        |d| {
            d.mode = SagaMode::Tcc.into();
            d.steps[1].pivot = true;
        },
        |d| d.mode = SagaMode::Tcc.into(),
        |d| d.steps[0].confirm = d.steps[0].action.clone(),
        |d| d.steps[1].action.as_mut().unwrap().timeout_ms = 9,
        |d| {
            let refund = Endpoint::<u64, u64>::saga("refund");
            let mut other = saga::define::<u64>("other");
            let input = other.input();
            other.step("s", refund, &input).add();
            let other = other.build().unwrap();
            undo(d, 1).target = other.steps[0].action.as_ref().unwrap().target.clone();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = order();
        change(&mut changed);
        let latest = |_: &str| Some(outrigger_core::saga::definition::Version(1));
        let sidecar = definition(&changed, &latest)
            .expect_err("a fault")
            .to_string();
        let sdk = saga::check(&changed).expect_err("a fault").to_string();
        assert_eq!(sdk, sidecar, "change {number}");
    }
}
