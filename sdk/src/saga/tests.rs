use std::time::Duration;

use outrigger_proto::v1::{SagaErrorClass, saga_step::UndoOrNothing};
use serde::{Deserialize, Serialize};

use super::{Endpoint, ErrorClass, Retry, Value, define, define_tcc};

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct Reservation {
    id: String,
}

#[test]
fn inputs_are_mappings_and_who_uses_an_output_comes_after_it() {
    let mut saga = define::<Order>("order").deadline(Duration::from_secs(60));
    let input = saga.input();
    let reserve = Endpoint::<Order, Reservation>::http("http://stock/reserve")
        .timeout(Duration::from_millis(1_500))
        .retry_when(ErrorClass::Ongoing, Retry::new().attempts_max(7));
    let reserve = saga.step("reserve", reserve, &input);
    let own = reserve
        .own_output()
        .at::<Option<String>>("/id")
        .or(&None)
        .unwrap();
    let undo = Value::object()
        .field("reservation", &own)
        .build::<Reservation>();
    let reserve = reserve
        .undo_with(Endpoint::<_, ()>::http("http://stock/undo"), &undo)
        .add();
    let ask = Endpoint::<u64, ()>::grpc("http://points", "limit");
    let ask = saga
        .step("ask", ask, &input.at("/id"))
        .nothing_to_undo()
        .add();
    let charge = Value::object()
        .field("reservation", &reserve.output().at::<String>("/id"))
        .field("source", &Value::literal(&"shop".to_owned()).unwrap())
        .build::<Order>();
    let target = Endpoint::<Order, ()>::message("charges", "card");
    let charge = saga
        .step("charge", target, &charge)
        .after(&ask)
        .pivot()
        .add();
    let saga = saga
        .output(&charge.output())
        .deliver_to_topic("orders-done");
    let definition = saga.build().unwrap();

    let [reserve, ask, charge] = &definition.steps[..] else {
        panic!("{definition:?}");
    };
    let action = reserve.action.as_ref().unwrap();
    assert_eq!(action.input, r#"{"$ref":"input"}"#);
    assert_eq!(action.timeout_ms, 1_500);
    let class = &action.retry.as_ref().unwrap().classes[0];
    assert_eq!(class.class(), SagaErrorClass::Ongoing);
    assert_eq!(class.policy.unwrap().attempts_max, 7);
    let Some(UndoOrNothing::Undo(undo)) = &reserve.undo_or_nothing else {
        panic!("{reserve:?}");
    };
    let expected = r##"{"reservation":{"$ref":"steps/reserve#/id","default":null}}"##;
    assert_eq!(
        undo.input.parse::<serde_json::Value>().unwrap(),
        expected.parse::<serde_json::Value>().unwrap()
    );
    assert_eq!(
        ask.action.as_ref().unwrap().input,
        r##"{"$ref":"input#/id"}"##
    );
    assert_eq!(charge.depends_on, ["reserve", "ask"]);
    assert_eq!(definition.output, r#"{"$ref":"steps/charge"}"#);
}

#[test]
fn faults_are_found_before_anybody_is_asked() {
    let mut saga = define::<Order>("order");
    let input = saga.input();
    saga.step("a", Endpoint::<_, ()>::http("http://a"), &input)
        .add();
    let error = saga.build().unwrap_err().to_string();
    assert!(error.starts_with("step \"a\": undo is missing"), "{error}");

    let mut tcc = define_tcc::<Order>("points");
    let input = tcc.input();
    let debit = Endpoint::<_, ()>::http("http://points/try");
    let cancel = Endpoint::<_, ()>::http("http://points/cancel");
    tcc.step("debit", debit, &input).undo(cancel).add();
    let error = tcc.build().unwrap_err().to_string();
    assert!(
        error.starts_with("step \"debit\": confirm is missing"),
        "{error}"
    );
}
