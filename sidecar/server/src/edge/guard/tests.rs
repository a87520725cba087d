use std::sync::Arc;

use outrigger_proto::stored::guard_server::Guard as _;
use tonic_types::StatusExt as _;

use super::*;
use crate::guards::{FakeGuards, Options};

fn service() -> GuardService {
    let embedded = Arc::new(FakeGuards::new());
    GuardService::new(Guards::with_embedded(embedded, Options::default()).unwrap())
}

fn key() -> GuardKey {
    GuardKey {
        scope: "stock-service".to_owned(),
        key: "order-17".to_owned(),
        ..GuardKey::default()
    }
}

fn acquire() -> GuardAcquireRequest {
    GuardAcquireRequest {
        guard: Some(key()),
        token: "one".to_owned(),
        ..GuardAcquireRequest::default()
    }
}

async fn refused(request: GuardAcquireRequest) -> (Code, String, String) {
    let status = service().acquire(Request::new(request)).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert!(info.metadata.contains_key("limit"), "{info:?}");
    let field = info.metadata["field"].clone();
    (status.code(), info.reason, field)
}

#[tokio::test]
async fn a_guard_is_acquired_completed_and_answers_with_its_result() {
    let service = service();
    let outcome = async || {
        let response = service.acquire(Request::new(acquire())).await.unwrap();
        response.into_inner().outcome.unwrap()
    };
    let acquired = stored::GuardAcquired {
        fencing: 1,
        takeover: false,
    };
    assert_eq!(outcome().await, Acquire::Acquired(acquired));
    let complete = GuardCompleteRequest {
        guard: Some(key()),
        token: "one".to_owned(),
        result: "reserved".into(),
        ttl_ms: 0,
    };
    let held = service.complete(Request::new(complete)).await.unwrap();
    assert!(held.into_inner().held);
    let result = "reserved".into();
    assert_eq!(outcome().await, Acquire::Done(stored::GuardDone { result }));
    let release = GuardReleaseRequest {
        guard: Some(key()),
        token: "one".to_owned(),
    };
    let held = service.release(Request::new(release)).await.unwrap();
    assert!(!held.into_inner().held);
}

#[tokio::test]
async fn every_bad_field_is_named_with_its_limit() {
    let guard = |change: fn(&mut GuardKey)| {
        let mut key = key();
        change(&mut key);
        GuardAcquireRequest {
            guard: Some(key),
            ..acquire()
        }
    };
    let cases = [
        (
            GuardAcquireRequest {
                guard: None,
                ..acquire()
            },
            "GUARD_MISSING",
            "guard",
        ),
        (
            guard(|key| key.scope.clear()),
            "ILLEGAL_NAME",
            "guard.scope",
        ),
        (
            guard(|key| key.scope = "a:b".to_owned()),
            "ILLEGAL_NAME",
            "guard.scope",
        ),
        (
            guard(|key| key.scope = "x".repeat(121)),
            "ILLEGAL_NAME",
            "guard.scope",
        ),
        (
            guard(|key| key.key.clear()),
            "ILLEGAL_GUARD_KEY",
            "guard.key",
        ),
        (
            guard(|key| key.key = "x".repeat(513)),
            "ILLEGAL_GUARD_KEY",
            "guard.key",
        ),
        (
            guard(|key| key.backend = 9),
            "ILLEGAL_GUARD_BACKEND",
            "guard.backend",
        ),
        (
            guard(|key| key.mode = 9),
            "ILLEGAL_GUARD_MODE",
            "guard.mode",
        ),
        (
            GuardAcquireRequest {
                token: String::new(),
                ..acquire()
            },
            "ILLEGAL_GUARD_TOKEN",
            "token",
        ),
        (
            GuardAcquireRequest {
                token: "é".repeat(65),
                ..acquire()
            },
            "ILLEGAL_GUARD_TOKEN",
            "token",
        ),
        (
            GuardAcquireRequest {
                fingerprint: vec![0; 65].into(),
                ..acquire()
            },
            "VALUE_TOO_LONG",
            "fingerprint",
        ),
        (
            GuardAcquireRequest {
                lease_ms: 12 * 3_600_000 + 1,
                ..acquire()
            },
            "DURATION_OUT_OF_RANGE",
            "lease_ms",
        ),
    ];
    for (request, reason, field) in cases {
        let expected = (Code::InvalidArgument, reason.to_owned(), field.to_owned());
        assert_eq!(refused(request).await, expected);
    }
    let longest = GuardAcquireRequest {
        token: "é".repeat(64),
        fingerprint: vec![0; 64].into(),
        lease_ms: 12 * 3_600_000,
        ..guard(|key| key.key = "x".repeat(512))
    };
    service().acquire(Request::new(longest)).await.unwrap();
}

#[tokio::test]
async fn results_and_ttls_out_of_range_are_refused() {
    let complete = GuardCompleteRequest {
        guard: Some(key()),
        token: "one".to_owned(),
        result: vec![0; 64 * 1024 + 1].into(),
        ttl_ms: 0,
    };
    for (request, field) in [
        (complete.clone(), "result"),
        (
            GuardCompleteRequest {
                result: "".into(),
                ttl_ms: 999,
                ..complete
            },
            "ttl_ms",
        ),
    ] {
        let status = service().complete(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["field"], field);
    }
}

#[tokio::test]
async fn a_backend_that_is_not_configured_is_refused_not_replaced() {
    let mut request = acquire();
    request.guard.as_mut().unwrap().backend = stored::GuardBackend::Redis.into();
    let (code, reason, field) = refused(request).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(reason, "GUARD_BACKEND_NOT_CONFIGURED");
    assert_eq!(field, "guard.backend");
    let options = Options {
        default: Backend::Redis,
        redis: None,
    };
    assert!(Guards::with_embedded(Arc::new(FakeGuards::new()), options).is_err());
}
