use outrigger_core::saga::ledger::Limits;
use outrigger_proto::v1::{
    self, SagaCall, SagaDefinition, SagaDelivery, SagaGrpcTarget, SagaSubSagaTarget, SagaWebhook,
    report_saga_step_request::Outcome, saga_call, saga_delivery, saga_server::Saga as _,
    saga_step::UndoOrNothing,
};
use tonic::{Code, Request, Status};

use super::world::{World, http, order, reason};

/// A definition, and the words that its refusal has to have.
type Bad = (fn(&mut SagaDefinition), &'static [&'static str]);

#[tokio::test]
async fn a_definition_that_cannot_be_carried_out_is_refused_with_step_and_field() {
    let world = World::new();
    let bad: [Bad; 9] = [
        (|d| d.steps.clear(), &["steps", "1 to 128"]),
        (
            |d| d.steps[1].depends_on = vec!["nobody".to_owned()],
            &["tell", "nobody"],
        ),
        (
            |d| d.steps[0].depends_on = vec!["tell".to_owned()],
            &["reserve", "tell"],
        ),
        (|d| d.steps[0].undo_or_nothing = None, &["reserve", "undo"]),
        (|d| d.deadline_ms = u64::MAX, &["deadline_ms"]),
        (
            |d| d.steps[0].action = Some(http("https://stock/reserve")),
            &["step \"reserve\"", "action.http.url", "TLS"],
        ),
        (
            |d| d.steps[0].undo_or_nothing = Some(UndoOrNothing::Undo(http("http://"))),
            &["step \"reserve\"", "undo", "http://"],
        ),
        (
            |d| {
                let url = "http://stock:1/path".to_owned();
                let operation = "reserve".to_owned();
                let target = SagaGrpcTarget { url, operation };
                d.steps[1].action = Some(SagaCall {
                    target: Some(saga_call::Target::Grpc(target)),
                    ..SagaCall::default()
                });
            },
            &["tell", "action.grpc.url", "no path"],
        ),
        (
            |d| {
                let url = "https://shop/done".to_owned();
                let to = Some(saga_delivery::To::Webhook(SagaWebhook { url }));
                d.deliveries.push(SagaDelivery { to });
            },
            &["deliveries", "webhook", "TLS"],
        ),
    ];
    for (number, (change, words)) in bad.into_iter().enumerate() {
        let mut definition = order();
        change(&mut definition);
        let status = world.try_define(definition).await.expect_err("refused");
        let told = status.message();
        assert_eq!(status.code(), Code::InvalidArgument, "{number}: {told}");
        assert_eq!(
            reason(&status),
            "SAGA_DEFINITION_INVALID",
            "{number}: {told}"
        );
        for word in words {
            assert!(told.contains(word), "{number}: no {word:?} in {told:?}");
        }
    }
    let none = v1::DefineSagaRequest::default();
    let status = world.service.define(Request::new(none)).await;
    assert_eq!(
        reason(&status.expect_err("nothing")),
        "SAGA_DEFINITION_INVALID"
    );
}

#[tokio::test]
async fn a_saga_as_a_step_needs_a_definition_and_keeps_its_latest_version() {
    let world = World::new();
    let outer = |version: &str| {
        let mut outer = order();
        outer.name = "outer".to_owned();
        let target = saga_call::Target::Saga(SagaSubSagaTarget {
            definition: "order".to_owned(),
            version: version.to_owned(),
        });
        outer.steps[0].action = Some(SagaCall {
            target: Some(target),
            ..SagaCall::default()
        });
        outer.steps[0].undo_or_nothing = None;
        outer
    };
    let status = world.try_define(outer("")).await.expect_err("no order yet");
    assert!(status.message().contains("reserve"), "{}", status.message());
    let version = "0".repeat(32);
    let status = world
        .try_define(outer(&version))
        .await
        .expect_err("no such version");
    assert_eq!(reason(&status), "SAGA_DEFINITION_INVALID");
    assert!(status.message().contains(&version), "{}", status.message());

    let inner = world.define(order()).await;
    let latest = world.define(outer("")).await;
    assert_eq!(
        world.define(outer(&inner.version)).await.version,
        latest.version
    );
}

#[tokio::test]
async fn starts_are_refused_with_field_value_and_limit() {
    let world = World::new();
    world.define(order()).await;
    let start = || v1::StartSagaRequest {
        saga_id: "order-1".to_owned(),
        definition: "order".to_owned(),
        ..Default::default()
    };
    type Change = fn(&mut v1::StartSagaRequest);
    let bad: [(Change, Code, &str, &str); 9] = [
        (
            |s| s.saga_id.clear(),
            Code::InvalidArgument,
            "ILLEGAL_NAME",
            "saga_id",
        ),
        (
            |s| s.saga_id = "a/b".to_owned(),
            Code::InvalidArgument,
            "ILLEGAL_NAME",
            "saga_id",
        ),
        (
            |s| s.saga_id = "x".repeat(129),
            Code::InvalidArgument,
            "ILLEGAL_NAME",
            "128",
        ),
        (
            |s| s.definition = "nobody".to_owned(),
            Code::NotFound,
            "SAGA_DEFINITION_NOT_FOUND",
            "nobody",
        ),
        (
            |s| s.version = "0".repeat(32),
            Code::NotFound,
            "SAGA_DEFINITION_NOT_FOUND",
            "version",
        ),
        (
            |s| s.version = "1".to_owned(),
            Code::InvalidArgument,
            "ILLEGAL_VERSION",
            "32",
        ),
        (
            |s| s.input = vec![b' '; 1_001].into(),
            Code::InvalidArgument,
            "SAGA_INPUT_TOO_LARGE",
            "1000",
        ),
        (
            |s| s.wait_ms = 60_001,
            Code::InvalidArgument,
            "ILLEGAL_WAIT",
            "60000",
        ),
        (
            |s| s.start_at_ms = u64::MAX,
            Code::InvalidArgument,
            "ILLEGAL_START_TIME",
            "365 days",
        ),
    ];
    for (number, (change, code, expected, word)) in bad.into_iter().enumerate() {
        let mut request = start();
        change(&mut request);
        let status = world.service.start(Request::new(request)).await;
        let status = status.expect_err("refused");
        let told = status.message();
        assert_eq!(status.code(), code, "{number}: {told}");
        assert_eq!(reason(&status), expected, "{number}: {told}");
        assert!(told.contains(word), "{number}: no {word:?} in {told:?}");
    }
    assert_eq!(world.counts(), [0, 0], "nothing has begun");
}

#[tokio::test]
async fn acts_and_reports_are_refused_with_field_value_and_limit() {
    let world = World::new();
    world.define(order()).await;
    world.start("order-1", b"{}").await;
    let park = |saga_id: &str, by: &str, reason: &str| v1::ParkSagaRequest {
        saga_id: saga_id.to_owned(),
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let long = "x".repeat(1_025);
    for (request, code, expected) in [
        (
            park("order-2", "ann", "why"),
            Code::NotFound,
            "SAGA_NOT_FOUND",
        ),
        (
            park("", "ann", "why"),
            Code::InvalidArgument,
            "ILLEGAL_SAGA_ID",
        ),
        (
            park("order-1", " ", "why"),
            Code::InvalidArgument,
            "ILLEGAL_BY",
        ),
        (
            park("order-1", "saga:x", "why"),
            Code::InvalidArgument,
            "ILLEGAL_BY",
        ),
        (
            park("order-1", "ann", ""),
            Code::InvalidArgument,
            "ILLEGAL_REASON",
        ),
        (
            park("order-1", "ann", &long),
            Code::InvalidArgument,
            "ILLEGAL_REASON",
        ),
    ] {
        let status = world.service.park(Request::new(request)).await;
        let status = status.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    }
    let retry = v1::RetrySagaStepRequest {
        saga_id: "order-1".to_owned(),
        step: "nobody".to_owned(),
        by: "ann".to_owned(),
        reason: "why".to_owned(),
    };
    let status = world.service.retry(Request::new(retry)).await;
    assert_eq!(reason(&status.expect_err("no step")), "SAGA_STEP_NOT_FOUND");

    let report = |change: fn(&mut v1::ReportSagaStepRequest)| {
        let mut request = v1::ReportSagaStepRequest {
            saga_id: "order-1".to_owned(),
            step: "reserve".to_owned(),
            phase: v1::SagaPhase::Action.into(),
            outcome: Some(Outcome::Success(v1::SagaStepSuccess::default())),
        };
        change(&mut request);
        let service = world.service.clone();
        async move {
            service
                .report(Request::new(request))
                .await
                .expect_err("refused")
        }
    };
    let told = |status: Status| reason(&status);
    assert_eq!(told(report(|r| r.phase = 0).await), "ILLEGAL_PHASE");
    assert_eq!(told(report(|r| r.phase = 99).await), "ILLEGAL_PHASE");
    assert_eq!(told(report(|r| r.outcome = None).await), "ILLEGAL_OUTCOME");
    assert_eq!(
        told(report(|r| r.step.clear()).await),
        "SAGA_STEP_NOT_FOUND"
    );
    let large = report(|r| {
        let output = vec![b' '; 1_001].into();
        r.outcome = Some(Outcome::Success(v1::SagaStepSuccess { output }));
    });
    assert_eq!(told(large.await), "SAGA_OUTPUT_TOO_LARGE");
    let words = report(|r| {
        let message = "x".repeat(1_025);
        r.outcome = Some(Outcome::Failure(v1::SagaStepFailure { message }));
    });
    assert_eq!(told(words.await), "MESSAGE_TOO_LONG");

    let list = |limit, statuses| v1::ListSagasRequest {
        limit,
        statuses,
        ..Default::default()
    };
    let status = world.service.list(Request::new(list(1_001, vec![]))).await;
    assert_eq!(reason(&status.expect_err("too many")), "ILLEGAL_LIMIT");
    let status = world.service.list(Request::new(list(1, vec![0]))).await;
    assert_eq!(reason(&status.expect_err("no status")), "ILLEGAL_STATUS");
}

#[tokio::test]
async fn what_is_too_much_names_its_limit() {
    let world = World::with_limits(&Limits {
        sagas_max: 1,
        definitions_max: 1,
        ..Limits::default()
    });
    world.define(order()).await;
    let mut other = order();
    other.name = "other".to_owned();
    let status = world.try_define(other).await.expect_err("one definition");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "TOO_MANY_SAGA_DEFINITIONS");
    let mut last = None;
    for number in 0..20 {
        let id = format!("order-{number}");
        if let Err(status) = world.try_start(&id, "order", b"").await {
            last = Some(status);
        }
    }
    let status = last.expect("one saga for each data group");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "TOO_MANY_SAGAS");
    assert!(status.message().contains('1'), "{}", status.message());
    assert_eq!(world.counts(), [1, 1]);
}
