use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{Barrier, Notify};

use super::{
    Caller, KeptBack, Options, Scripted, call, done, kept_back,
    scripted::{Reply, answer, until},
};

/// Exactly as many calls as allowed are under way: never more, and never fewer while
/// others wait.
#[tokio::test]
async fn the_limit_of_calls_under_way_is_exact() {
    const LIMIT: usize = 4;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    // Each answer waits until as many requests as the limit allows are here together.
    let together = Arc::new(Barrier::new(LIMIT));
    let participant = Scripted::start(move |_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let together = Arc::clone(&together);
        async move {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            together.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Reply::Send(answer(200, "", b"done"))
        }
    })
    .await;
    let caller = Caller::new(Options {
        calls_per_authority_max: LIMIT,
        waiting_ms_max: 120_000,
        ..Options::default()
    });
    let call = call(participant.endpoint());
    let calls = (0..LIMIT * 10).map(|_| caller.call(&call));
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(outcome, done());
    }
    assert_eq!(peak.load(Ordering::SeqCst), LIMIT);
}

#[tokio::test]
async fn a_queue_that_is_full_sends_the_rest_away() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let participant = Scripted::start(move |_| {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            Reply::Send(answer(200, "", b"done"))
        }
    })
    .await;
    let caller = Caller::new(Options {
        calls_per_authority_max: 2,
        waiting_calls_per_authority_max: 3,
        waiting_ms_max: 120_000,
        ..Options::default()
    });
    let call = call(participant.endpoint());
    let mut calls: FuturesUnordered<_> = (0..10).map(|_| caller.call(&call)).collect();
    for _ in 0..5 {
        let outcome = calls.next().await.unwrap();
        assert_eq!(kept_back(outcome), KeptBack::QueueFull { limit: 3 });
    }
    // The others are under way or wait, and none of them is lost.
    for _ in 0..5 {
        release.notify_one();
        assert_eq!(calls.next().await.unwrap(), done());
    }
    assert!(calls.next().await.is_none());
    assert_eq!(participant.requests(), 5);

    // Whoever waits too long has not been tried, either.
    let impatient = Caller::new(Options {
        calls_per_authority_max: 1,
        waiting_ms_max: 20,
        ..Options::default()
    });
    let mut calls: FuturesUnordered<_> = (0..2).map(|_| impatient.call(&call)).collect();
    let outcome = calls.next().await.unwrap();
    assert_eq!(kept_back(outcome), KeptBack::Busy { limit_ms: 20 });
    release.notify_one();
    assert_eq!(calls.next().await.unwrap(), done());
    assert_eq!(participant.requests(), 6);
}

/// One of three takes everything and answers nothing. The others have answered every one
/// of their calls before it has answered any.
#[tokio::test]
async fn one_dead_participant_of_three_slows_nobody_else() {
    const CALLS: usize = 200;
    let is_dead = Arc::new(AtomicBool::new(true));
    let dead_now = Arc::clone(&is_dead);
    let dead = Scripted::start(move |_| {
        let dead_now = Arc::clone(&dead_now);
        async move {
            until(|| !dead_now.load(Ordering::SeqCst)).await;
            Reply::Reset
        }
    })
    .await;
    let alive = [
        Scripted::answering(answer(200, "", b"done")).await,
        Scripted::answering(answer(200, "", b"done")).await,
    ];
    let caller = Caller::new(Options {
        calls_per_authority_max: 8,
        waiting_ms_max: 120_000,
        ..Options::default()
    });
    let ended = Arc::new(AtomicUsize::new(0));
    let to_dead: Vec<_> = (0..CALLS)
        .map(|_| {
            let (caller, call, ended) = (caller.clone(), call(dead.endpoint()), Arc::clone(&ended));
            tokio::spawn(async move {
                let outcome = caller.call(&call).await;
                ended.fetch_add(1, Ordering::SeqCst);
                outcome
            })
        })
        .collect();
    until(|| dead.requests() == 8).await;
    for participant in &alive {
        let call = call(participant.endpoint());
        let calls = (0..CALLS).map(|_| caller.call(&call));
        for outcome in futures::future::join_all(calls).await {
            assert_eq!(outcome, done());
        }
        assert_eq!(participant.requests(), CALLS);
    }
    assert_eq!(ended.load(Ordering::SeqCst), 0, "it was still dead");
    assert_eq!(dead.requests(), 8, "nobody got past its limit");

    // Its connections break: those who waited are sent away untried, all but the few that
    // passed before the breaker opened.
    is_dead.store(false, Ordering::SeqCst);
    let mut untried = 0;
    for outcome in futures::future::join_all(to_dead).await {
        let outcome = outcome.unwrap();
        if outcome.is_err() {
            assert_eq!(kept_back(outcome), KeptBack::BreakerOpen);
            untried += 1;
        }
    }
    assert_eq!(dead.requests(), CALLS - untried);
    assert!(untried >= CALLS - 2 * 8, "only {untried} were kept back");
}

#[tokio::test]
async fn only_so_many_authorities_are_known_and_idle_ones_make_room() {
    let mut participants = Vec::new();
    for _ in 0..4 {
        participants.push(Scripted::answering(answer(200, "", b"done")).await);
    }
    let silent = Scripted::start(|_| std::future::pending()).await;
    let caller = Caller::new(Options {
        authorities_max: 2,
        ..Options::default()
    });
    for participant in &participants {
        assert_eq!(caller.call(&call(participant.endpoint())).await, done());
    }
    // The two that were unused for longest have lost their connections.
    participants[0].closed(1).await;
    participants[1].closed(1).await;
    assert_eq!(caller.call(&call(participants[3].endpoint())).await, done());
    assert_eq!(participants[3].connections(), 1, "it was kept");

    // What is in use is never forgotten.
    let calls: Vec<_> = [silent.endpoint(), silent.endpoint()]
        .into_iter()
        .map(|endpoint| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.call(&call(endpoint)).await })
        })
        .collect();
    until(|| silent.requests() == 2).await;
    for participant in &participants {
        assert_eq!(caller.call(&call(participant.endpoint())).await, done());
    }
    let other = Scripted::start(|_| std::future::pending()).await;
    let waiting = tokio::spawn({
        let (caller, endpoint) = (caller.clone(), other.endpoint());
        async move { caller.call(&call(endpoint)).await }
    });
    until(|| other.requests() == 1).await;
    let outcome = caller.call(&call(participants[0].endpoint())).await;
    assert_eq!(kept_back(outcome), KeptBack::AuthoritiesFull { limit: 2 });
    waiting.abort();
    let _ = waiting.await;
    assert_eq!(caller.call(&call(participants[0].endpoint())).await, done());
    for call in calls {
        assert!(!call.is_finished());
        call.abort();
    }
}
