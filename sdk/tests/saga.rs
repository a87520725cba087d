//! The client for sagas against a sidecar that loses answers and refuses.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod fake;

use std::{collections::VecDeque, time::Duration};

use fake::{
    FakeConsumer, FakeProducer, Sidecar,
    saga::{FakeSagas, Fate},
};
use outrigger_proto::v1::{self, SagaPhase};
use outrigger_sdk::{
    Client,
    barrier::Phase,
    saga::{self, Endpoint, Error, Filter, Page, Status},
};
use tonic::Code;

struct World {
    fake: FakeSagas,
    sagas: saga::Client,
    _sidecar: Sidecar,
}

impl World {
    async fn new(asked_before_end: u32, fates: impl Into<VecDeque<Fate>>) -> Self {
        let fake = FakeSagas::default();
        fake.state().asked_before_end = asked_before_end;
        fake.state().fates = fates.into();
        let (producer, consumer) = (FakeProducer::reliable(), FakeConsumer::default());
        let sidecar = Sidecar::start_with_sagas(producer, consumer, fake.clone()).await;
        let client = Client::connect(sidecar.uri()).await.unwrap();
        Self {
            fake,
            sagas: client.sagas(),
            _sidecar: sidecar,
        }
    }
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_made_again_and_starts_one_saga() {
    let lost = [Fate::Lost, Fate::Refused(Code::Unavailable, ""), Fate::Lost];
    let world = World::new(2, lost).await;
    let sagas = world.sagas.clone();
    // In a task, as applications do.
    let info = tokio::spawn(async move { sagas.start("order-17", "order", &[17]).await });
    let info = info.await.unwrap().unwrap();
    assert_eq!(info.status, Status::Completed);
    assert_eq!(info.output::<Vec<u32>>().unwrap(), [17]);
    assert!(matches!(info.output::<String>(), Err(Error::Json { .. })));
    let state = world.fake.state();
    assert_eq!(state.calls, ["start"; 4]);
    let kept = &state.sagas["order-17"];
    assert_eq!((kept.started, &kept.start.input[..]), (3, &b"[17]"[..]));
    assert_eq!(state.sagas.len(), 1);
}

#[tokio::test]
async fn whoever_waits_longer_than_one_call_may_is_told_the_end() {
    let world = World::new(3, [Fate::Lost]).await;
    let long = Duration::from_secs(150);
    let start = world.sagas.start("order-17", "order", "17").wait(long);
    assert_eq!(start.await.unwrap().status, Status::Completed);
    let state = world.fake.state();
    assert_eq!(state.calls, ["start", "start", "wait", "wait"]);
    assert!(state.waits_ms.iter().all(|wait_ms| *wait_ms == 60_000));
}

#[tokio::test]
async fn a_wait_ends_in_time_when_the_saga_does_not() {
    let world = World::new(u32::MAX, []).await;
    world.sagas.start("order-17", "order", "17").await.unwrap();
    let info = world.sagas.wait("order-17", Duration::from_millis(60));
    assert_eq!(info.await.unwrap().status, Status::Running);
    let state = world.fake.state();
    // A sidecar that does not wait is not asked without end.
    assert!((2..20).contains(&state.calls.len()), "{:?}", state.calls);
}

#[tokio::test]
async fn every_refusal_has_its_type_and_is_not_repeated() {
    type Is = fn(&Error) -> bool;
    let refusals: [(Code, &str, Is); 9] = [
        (Code::InvalidArgument, "SAGA_DEFINITION_INVALID", |e| {
            matches!(e, Error::DefinitionInvalid(_))
        }),
        (Code::NotFound, "SAGA_DEFINITION_NOT_FOUND", |e| {
            matches!(e, Error::DefinitionNotFound(_))
        }),
        (Code::AlreadyExists, "SAGA_CONFLICT", |e| {
            matches!(e, Error::Conflict(_))
        }),
        (Code::NotFound, "SAGA_NOT_FOUND", |e| {
            matches!(e, Error::NotFound(_))
        }),
        (Code::NotFound, "SAGA_STEP_NOT_FOUND", |e| {
            matches!(e, Error::StepNotFound(_))
        }),
        (Code::FailedPrecondition, "SAGA_STEP_NOT_CALLED", |e| {
            matches!(e, Error::StepNotCalled(_))
        }),
        (Code::FailedPrecondition, "SAGA_ACT_NOT_POSSIBLE", |e| {
            matches!(e, Error::NotPossible(_))
        }),
        (Code::ResourceExhausted, "TOO_MANY_SAGAS", |e| {
            matches!(e, Error::TooMany(_))
        }),
        (Code::InvalidArgument, "SAGA_INPUT_TOO_LARGE", |e| {
            matches!(e, Error::Refused(_))
        }),
    ];
    for (code, reason, is) in refusals {
        let world = World::new(0, [Fate::Refused(code, reason)]).await;
        let error = world.sagas.start("a", "order", "17").await.unwrap_err();
        assert!(is(&error), "{reason}: {error:?}");
        assert_eq!(error.refusal().unwrap().reason, reason);
        assert_eq!(world.fake.state().calls.len(), 1);
    }
    let world = World::new(0, []).await;
    world.sagas.start("a", "order", "17").await.unwrap();
    let other = world.sagas.start("a", "order", "18").await;
    assert!(matches!(other, Err(Error::Conflict(_))), "{other:?}");
    let nobody = world.sagas.get("b").await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
}

#[tokio::test]
async fn what_a_person_does_is_done_once_and_says_who_and_why() {
    let world = World::new(0, []).await;
    world.sagas.start("a", "order", "17").await.unwrap();
    world.fake.state().fates.push_back(Fate::Lost);
    let ann = world.sagas.by_hand("ann", "the warehouse burned down");
    let lost = ann.undo("a").await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    ann.retry("a", "reserve").await.unwrap();
    ann.skip("a", "reserve", "{}").await.unwrap();
    ann.edit_input("a", "reserve", Some(Phase::Undo), "[]")
        .await
        .unwrap();
    ann.park("a").await.unwrap();
    ann.resume("a").await.unwrap();
    let state = world.fake.state();
    let calls = [
        "start",
        "undo",
        "retry",
        "skip",
        "edit_input",
        "park",
        "resume",
    ];
    assert_eq!(state.calls, calls);
    let who = ("ann".to_owned(), "the warehouse burned down".to_owned());
    assert!(state.by_hand.iter().all(|by| *by == who));
}

#[tokio::test]
async fn definitions_reports_and_lists_arrive_as_they_are_meant() {
    let world = World::new(0, [Fate::Lost]).await;
    let sagas = &world.sagas;
    let mut order = saga::define::<u32>("order");
    let input = order.input();
    order
        .step(
            "reserve",
            Endpoint::<u32, ()>::http("http://stock/"),
            &input,
        )
        .nothing_to_undo()
        .add();
    let defined = sagas.define(&order.build().unwrap()).await.unwrap();
    assert_eq!((defined.name.as_str(), defined.created), ("order", false));

    for id in ["a", "b", "c"] {
        sagas.start(id, "order", &17).await.unwrap();
    }
    assert_eq!(&sagas.get("b").await.unwrap().input[..], b"17");
    let (mut page, mut listed) = (Page::default(), Vec::new());
    loop {
        let (sagas, next) = sagas.list(&Filter::default(), &page).await.unwrap();
        listed.extend(sagas.into_iter().map(|saga| saga.saga_id));
        page = next;
        if page.is_last() {
            break;
        }
    }
    assert_eq!(listed, ["a", "b", "c"]);

    world.fake.state().fates.push_back(Fate::Lost);
    let done = sagas.report_success("a", "reserve", Phase::Try, &[1]);
    done.await.unwrap();
    let no = sagas.report_failure("a", "reserve", Phase::Action, "sold out");
    no.await.unwrap();
    let reports = &world.fake.state().reports;
    let said: Vec<_> = reports
        .iter()
        .map(|r| (r.phase(), r.outcome.clone()))
        .collect();
    let success = v1::report_saga_step_request::Outcome::Success(v1::SagaStepSuccess {
        output: "[1]".into(),
    });
    let failure = v1::report_saga_step_request::Outcome::Failure(v1::SagaStepFailure {
        message: "sold out".to_owned(),
    });
    assert_eq!(
        said,
        [
            (SagaPhase::Try, Some(success.clone())),
            (SagaPhase::Try, Some(success)),
            (SagaPhase::Action, Some(failure)),
        ]
    );
}
