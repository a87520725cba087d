//! The service over two data groups whose ledgers are in memory, without anybody who carries
//! sagas out.

mod acts;
mod bad_input;
mod world;

use outrigger_proto::v1::{self, SagaStatus, saga_server::Saga as _};
use tonic::{Code, Request};

use self::world::{World, order, reason};

#[tokio::test]
async fn a_start_that_is_repeated_changes_nothing_and_another_one_is_a_conflict() {
    let world = World::new();
    world.define(order()).await;
    let first = world.start("order-1", b"{}").await;
    assert_eq!(first.status(), SagaStatus::Running);
    assert!(first.start_at_ms > 0 && first.deadline_at_ms == first.start_at_ms + 600_000);

    // A later version does not change what was started, nor what is meant by it.
    let mut later = order();
    later.deadline_ms = 1_000;
    world.define(later).await;
    assert_eq!(world.start("order-1", b"{}").await, first);

    let other = world.try_start("order-1", "order", b"{\"other\":1}").await;
    let status = other.expect_err("another input");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(reason(&status), "SAGA_CONFLICT");
    let time = v1::StartSagaRequest {
        saga_id: "order-1".to_owned(),
        definition: "order".to_owned(),
        input: "{}".into(),
        start_at_ms: first.start_at_ms + 1,
        ..Default::default()
    };
    let status = world.service.start(Request::new(time)).await;
    assert_eq!(reason(&status.expect_err("another time")), "SAGA_CONFLICT");
}

#[tokio::test]
async fn definitions_are_in_all_data_groups_and_keep_their_version() {
    let world = World::new();
    let defined = world.define(order()).await;
    assert!(defined.created);
    assert!(!world.define(order()).await.created);
    let mut later = order();
    later.deadline_ms = 1_000;
    let latest = world.define(later).await;
    assert_ne!(latest.version, defined.version);

    let named = |name: &str| v1::ListSagaDefinitionsRequest {
        name: name.to_owned(),
    };
    let all = world.service.list_definitions(Request::new(named("order")));
    let all = all.await.expect("both").into_inner().definitions;
    let versions: Vec<_> = all.iter().map(|one| (&*one.version, one.latest)).collect();
    assert_eq!(versions.len(), 2);
    assert!(versions.contains(&(&defined.version, false)));
    assert!(versions.contains(&(&latest.version, true)));
    let latest_of_all = world.service.list_definitions(Request::new(named("")));
    let latest_of_all = latest_of_all.await.expect("one").into_inner();
    assert_eq!(latest_of_all.definitions.len(), 1);

    // Sagas of either version start wherever they lie.
    for number in 0..20 {
        let saga = v1::StartSagaRequest {
            saga_id: format!("order-{number}"),
            definition: "order".to_owned(),
            version: defined.version.clone(),
            ..Default::default()
        };
        let started = world.service.start(Request::new(saga)).await;
        let started = started.expect("started").into_inner();
        assert_eq!(started.version, defined.version);
    }
    assert!(
        world.counts().iter().all(|count| *count > 0),
        "both have some"
    );
}

#[tokio::test]
async fn sagas_of_all_data_groups_are_listed_in_one_order_page_by_page() {
    let world = World::new();
    world.define(order()).await;
    let mut ids: Vec<_> = (0..57).map(|number| format!("order-{number:02}")).collect();
    for id in &ids {
        world.start(id, b"{}").await;
    }
    world.park("order-07").await;
    ids.sort();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListSagasRequest {
            limit: 10,
            page_token,
            ..Default::default()
        };
        let page = world.service.list(Request::new(request)).await;
        let page = page.expect("a page").into_inner();
        assert!(page.sagas.len() <= 10);
        listed.extend(page.sagas.into_iter().map(|saga| saga.saga_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);

    let request = v1::ListSagasRequest {
        statuses: vec![SagaStatus::Parked.into()],
        ..Default::default()
    };
    let parked = world.service.list(Request::new(request)).await;
    let parked = parked.expect("parked ones").into_inner().sagas;
    assert_eq!(parked.len(), 1);
    assert!(parked[0].parked_by_hand && parked[0].saga_id == "order-07");
}

#[tokio::test]
async fn waiting_ends_with_the_time_with_the_process_and_at_once_for_what_is_parked() {
    let world = World::new();
    world.define(order()).await;
    let request = v1::StartSagaRequest {
        saga_id: "order-1".to_owned(),
        definition: "order".to_owned(),
        wait_ms: 50,
        ..Default::default()
    };
    let told = world.service.start(Request::new(request)).await;
    assert_eq!(
        told.expect("told").into_inner().status(),
        SagaStatus::Running
    );

    let wait = |wait_ms| v1::WaitSagaRequest {
        saga_id: "order-1".to_owned(),
        wait_ms,
    };
    let waiting = world.service.wait(Request::new(wait(60_000)));
    let parking = async {
        world.park("order-1").await;
    };
    let (told, ()) = tokio::join!(waiting, parking);
    assert_eq!(
        told.expect("told").into_inner().status(),
        SagaStatus::Parked
    );

    world.resume("order-1").await;
    let waiting = world.service.wait(Request::new(wait(60_000)));
    let closing = async { world.closing.cancel() };
    let (told, ()) = tokio::join!(waiting, closing);
    assert_eq!(
        told.expect("told").into_inner().status(),
        SagaStatus::Running
    );
}
