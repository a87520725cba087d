//! A transaction that is asked for what it is not.

use outrigger_proto::v1::{BodySource, Message, PrepareRequest, ResolveRequest, Verdict};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{Calls, calls, expect, message};
use crate::harness::read_all;

fn prepare(id: Uuid, body: &'static str) -> PrepareRequest {
    PrepareRequest {
        transaction_id: id.to_string(),
        producer_group: "p".into(),
        messages: vec![Message {
            body: body.into(),
            message_id: body.into(),
            ..message("t")
        }],
    }
}

fn resolve(id: Uuid, verdict: Verdict) -> ResolveRequest {
    ResolveRequest {
        transaction_id: id.to_string(),
        verdict: verdict.into(),
        payload: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_resolved_once_and_contradictions_are_refused() {
    let Calls {
        bench,
        mut producer,
        ..
    } = calls("").await;
    let id = Uuid::now_v7();
    let unknown = producer
        .resolve(resolve(id, Verdict::Commit))
        .await
        .expect_err("never prepared");
    expect(
        &unknown,
        Code::NotFound,
        "TRANSACTION_NOT_FOUND",
        "transaction_id",
    );

    let first = producer
        .prepare(prepare(id, "one"))
        .await
        .expect("prepared")
        .into_inner();
    assert!(!first.repeated_call);
    let again = producer
        .prepare(prepare(id, "one"))
        .await
        .expect("the same")
        .into_inner();
    assert!(again.repeated_call);
    let other = producer
        .prepare(prepare(id, "two"))
        .await
        .expect_err("other content");
    expect(
        &other,
        Code::AlreadyExists,
        "TRANSACTION_CONTENT_DIFFERS",
        "transaction_id",
    );

    let verdict = producer
        .resolve(resolve(id, Verdict::Unknown))
        .await
        .expect_err("no verdict");
    expect(
        &verdict,
        Code::InvalidArgument,
        "ILLEGAL_VERDICT",
        "verdict",
    );
    for repeated in [false, true, true] {
        let answer = producer
            .resolve(resolve(id, Verdict::Commit))
            .await
            .expect("committed");
        assert_eq!(answer.into_inner().repeated_call, repeated);
    }
    let contradiction = producer
        .resolve(resolve(id, Verdict::Rollback))
        .await
        .expect_err("committed");
    expect(
        &contradiction,
        Code::FailedPrecondition,
        "TRANSACTION_CONTRADICTION",
        "transaction_id",
    );
    let details = contradiction.get_error_details();
    let recorded = details
        .error_info()
        .and_then(|info| info.metadata.get("recorded").cloned());
    assert_eq!(recorded.as_deref(), Some("commit"));

    let no_uuid = ResolveRequest {
        transaction_id: "17".into(),
        ..resolve(id, Verdict::Commit)
    };
    let no_uuid = producer.resolve(no_uuid).await.expect_err("not a UUID");
    expect(
        &no_uuid,
        Code::InvalidArgument,
        "ILLEGAL_TRANSACTION_ID",
        "transaction_id",
    );
    let empty = PrepareRequest {
        messages: Vec::new(),
        ..prepare(Uuid::now_v7(), "x")
    };
    let empty = producer.prepare(empty).await.expect_err("no messages");
    expect(
        &empty,
        Code::InvalidArgument,
        "ILLEGAL_MESSAGE_COUNT",
        "messages",
    );

    let late_body = Uuid::now_v7();
    let mut request = prepare(late_body, "late");
    request.messages[0].body_source = BodySource::FromFence.into();
    producer.prepare(request).await.expect("prepared");
    let bodiless = producer
        .resolve(resolve(late_body, Verdict::Commit))
        .await
        .expect_err("no body");
    expect(
        &bodiless,
        Code::FailedPrecondition,
        "PAYLOAD_MISSING",
        "transaction_id",
    );

    let client = bench.client().await;
    assert_eq!(read_all(&client, "t").await, [("one".to_owned(), 1)].into());
}
