use outrigger_proto::v1::{
    self, SagaPhase, SagaStatus, SagaStepStatus, report_saga_step_request::Outcome,
    saga_server::Saga as _,
};
use tonic::{Code, Request};

use super::world::{World, order, reason};

fn edit(input: &str) -> v1::EditSagaInputRequest {
    v1::EditSagaInputRequest {
        saga_id: "order-1".to_owned(),
        step: "reserve".to_owned(),
        by: "ann".to_owned(),
        reason: "a typo".to_owned(),
        input: input.to_owned().into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_a_person_does_is_in_the_history_with_who_and_why() {
    let world = World::new();
    world.define(order()).await;
    world.start("order-1", b"{}").await;

    // Only a parked saga lets a step be edited that is not stuck.
    let refused = world.service.edit_input(Request::new(edit("{}"))).await;
    let status = refused.expect_err("it is running");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "SAGA_ACT_NOT_POSSIBLE");

    assert!(world.park("order-1").await.parked_by_hand);
    let edited = world
        .service
        .edit_input(Request::new(edit("{\"n\":2}")))
        .await;
    edited.expect("edited");
    let skip = v1::SkipSagaStepRequest {
        saga_id: "order-1".to_owned(),
        step: "reserve".to_owned(),
        by: "bob".to_owned(),
        reason: "done on the phone".to_owned(),
        output: "{\"by\":\"phone\"}".into(),
    };
    world
        .service
        .skip(Request::new(skip))
        .await
        .expect("skipped");
    world.resume("order-1").await;

    let details = world.get("order-1").await;
    let reserve = &details.steps[0];
    assert_eq!(reserve.status(), SagaStepStatus::Succeeded);
    assert_eq!(reserve.output.as_deref(), Some(&b"{\"by\":\"phone\"}"[..]));
    let history = details.history.iter().map(|entry| {
        (
            entry.step.as_str(),
            entry.event.as_str(),
            entry.by.as_str(),
            entry.reason.as_str(),
        )
    });
    let history: Vec<_> = history.collect();
    assert_eq!(
        history,
        [
            ("", "set aside", "ann", "to look at it"),
            ("reserve", "another input for action", "ann", "a typo"),
            (
                "reserve",
                "action was done by hand",
                "bob",
                "done on the phone"
            ),
            ("", "to go on", "ann", "looked at"),
        ]
    );

    let undo = v1::UndoSagaRequest {
        saga_id: "order-1".to_owned(),
        by: "eve".to_owned(),
        reason: "the customer called".to_owned(),
    };
    let undoing = world
        .service
        .undo(Request::new(undo))
        .await
        .expect("undoing");
    let undoing = undoing.into_inner();
    assert_eq!(undoing.undo_cause, "eve wanted it: the customer called");
    assert_eq!(undoing.status(), SagaStatus::Undoing);
}

#[tokio::test]
async fn a_report_needs_a_call_that_is_under_way() {
    let world = World::new();
    world.define(order()).await;
    world.start("order-1", b"{}").await;
    let report = v1::ReportSagaStepRequest {
        saga_id: "order-1".to_owned(),
        step: "reserve".to_owned(),
        phase: SagaPhase::Action.into(),
        outcome: Some(Outcome::Success(v1::SagaStepSuccess::default())),
    };
    let status = world.service.report(Request::new(report)).await;
    let status = status.expect_err("nobody has called it");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "SAGA_STEP_NOT_CALLED");
}
