use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use outrigger_core::breaker;

use super::{
    Caller, ErrorClass, KeptBack, NotTried, Options, Scripted, call, class, done,
    scripted::{Reply, answer, until},
};

const FAILURES: u32 = 3;

fn options(open_ms: u64) -> Options {
    Options {
        not_tried_jitter_ms: 1,
        breaker: breaker::Options {
            failures_max: FAILURES,
            open_base_ms: open_ms,
            open_cap_ms: open_ms,
        },
        ..Options::default()
    }
}

/// A participant that is dead until told otherwise, and the switch.
async fn mortal() -> (Scripted, Arc<AtomicBool>) {
    let is_alive = Arc::new(AtomicBool::new(false));
    let alive = Arc::clone(&is_alive);
    let participant = Scripted::start(move |_| {
        let is_alive = alive.load(Ordering::SeqCst);
        async move {
            if is_alive {
                Reply::Send(answer(200, "", b"done"))
            } else {
                Reply::Reset
            }
        }
    })
    .await;
    (participant, is_alive)
}

/// Calls until the breaker opens.
async fn open(caller: &Caller, participant: &Scripted) {
    for _ in 0..FAILURES {
        assert_eq!(caller.kept_back_for(&participant.endpoint()), None);
        let outcome = caller.call(&call(participant.endpoint())).await;
        assert_eq!(class(outcome), ErrorClass::Internal);
    }
}

#[tokio::test]
async fn a_dead_participant_is_left_alone() {
    // With full jitter it is any time between 0 and these days; never one that passes here.
    const OPEN_MS: u64 = 3_600_000_000;
    let (participant, _) = mortal().await;
    let caller = Caller::new(options(OPEN_MS));
    open(&caller, &participant).await;
    for _ in 0..100 {
        let outcome = caller.call(&call(participant.endpoint())).await;
        let NotTried { retry_after, why } = outcome.expect_err("it was tried");
        assert_eq!(why, KeptBack::BreakerOpen);
        assert!(retry_after > Duration::ZERO);
    }
    assert!(caller.kept_back_for(&participant.endpoint()).is_some());
    assert_eq!(participant.connections(), FAILURES as usize);
}

#[tokio::test]
async fn a_participant_that_comes_back_is_found() {
    let (participant, is_alive) = mortal().await;
    let caller = Caller::new(options(20));
    open(&caller, &participant).await;
    is_alive.store(true, Ordering::SeqCst);
    let mut outcome = caller.call(&call(participant.endpoint())).await;
    while let Err(NotTried { retry_after, .. }) = outcome {
        tokio::time::sleep(retry_after).await;
        outcome = caller.call(&call(participant.endpoint())).await;
    }
    assert_eq!(outcome, done());
    assert_eq!(
        participant.requests(),
        FAILURES as usize + 1,
        "the first probe sufficed"
    );
    assert_eq!(caller.kept_back_for(&participant.endpoint()), None);
}

/// While one call finds out, no other one is tried; and if it is given up, the next one
/// finds out.
#[tokio::test]
async fn one_call_at_a_time_finds_out() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let participant = Scripted::start(move |_| {
        let silent = Arc::clone(&silent);
        async move {
            until(|| !silent.load(Ordering::SeqCst)).await;
            Reply::Reset
        }
    })
    .await;
    let caller = Caller::new(options(1));
    open(&caller, &participant).await;
    is_silent.store(true, Ordering::SeqCst);
    for round in 1..=3 {
        until(|| caller.kept_back_for(&participant.endpoint()).is_none()).await;
        let probe = tokio::spawn({
            let (caller, endpoint) = (caller.clone(), participant.endpoint());
            async move { caller.call(&call(endpoint)).await }
        });
        until(|| participant.requests() == FAILURES as usize + round).await;
        for _ in 0..10 {
            let outcome = caller.call(&call(participant.endpoint())).await;
            assert!(outcome.is_err(), "{outcome:?}");
        }
        probe.abort();
        assert!(probe.await.unwrap_err().is_cancelled());
    }
    assert_eq!(participant.requests(), FAILURES as usize + 3);
}

#[tokio::test]
async fn answers_of_any_kind_keep_the_breaker_closed() {
    for status in [202, 400, 409, 425, 429, 500] {
        let participant = Scripted::answering(answer(status, "", b"")).await;
        let caller = Caller::new(options(60_000));
        for _ in 0..50 {
            let outcome = caller.call(&call(participant.endpoint())).await;
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        assert_eq!(participant.requests(), 50);
    }
    // Something before the participant says that there is none.
    let gateway = Scripted::answering(answer(503, "", b"")).await;
    let caller = Caller::new(options(3_600_000_000));
    for _ in 0..50 {
        let _ = caller.call(&call(gateway.endpoint())).await;
    }
    assert_eq!(gateway.requests(), FAILURES as usize);
}
