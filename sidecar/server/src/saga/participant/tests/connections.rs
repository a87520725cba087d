use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    Caller, ErrorClass, Options, Scripted, call, class, done,
    scripted::{Reply, answer},
};

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let participant = Scripted::answering(answer(200, "", b"done")).await;
    let caller = Caller::new(Options::default());
    for _ in 0..50 {
        assert_eq!(
            caller.clone().call(&call(participant.endpoint())).await,
            done()
        );
    }
    assert_eq!((participant.connections(), participant.requests()), (1, 50));
}

#[tokio::test]
async fn answers_that_decide_nothing_do_not_cost_a_connection() {
    let participant = Scripted::start(|request| async move {
        let status = [425, 500, 409, 404][request.number % 4];
        Reply::Send(answer(status, "", b"some text"))
    })
    .await;
    let caller = Caller::new(Options::default());
    for _ in 0..20 {
        let is = caller.call(&call(participant.endpoint())).await;
        assert!(is.is_ok() && is != done(), "{is:?}");
    }
    assert_eq!((participant.connections(), participant.requests()), (1, 20));
}

/// The participant closes every connection between two calls. As soon as that is known,
/// calls take another one, and nobody notices.
#[tokio::test]
async fn a_connection_that_was_closed_between_calls_does_no_harm() {
    const CALLS: usize = 20;
    let participant =
        Scripted::start(|_| async { Reply::SendAndClose(answer(200, "", b"done")) }).await;
    let caller = Caller::new(Options::default());
    let mut successes = 0;
    for round in 1..=CALLS {
        let is = caller.call(&call(participant.endpoint())).await;
        successes += usize::from(is == done());
        participant.closed(participant.connections()).await;
        assert_eq!(participant.connections(), successes, "round {round}");
        // News of the end may be on their way.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(participant.requests(), successes);
    assert!(
        successes > CALLS / 2,
        "only {successes} of {CALLS} succeeded"
    );
}

/// However the end of a connection and the next request cross on the way, nobody is asked
/// twice by one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_have_been_sent_is_not_sent_again() {
    const CALLS: usize = 400;
    let asked = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let shared = Arc::clone(&asked);
    let participant = Scripted::start(move |request| {
        let attempt = request
            .head
            .lines()
            .find(|l| l.starts_with("outrigger-attempt"));
        *shared
            .lock()
            .unwrap()
            .entry(attempt.unwrap().to_owned())
            .or_default() += 1;
        async move {
            match request.number % 4 {
                // Without a word that it will close.
                0 | 1 => Reply::SendAndClose(answer(200, "", b"done")),
                2 => Reply::Send(answer(200, "", b"done")),
                _ if request.connection % 2 == 0 => Reply::SendAndClose(Vec::new()),
                _ => Reply::Reset,
            }
        }
    })
    .await;
    let options = Options {
        breaker: outrigger_core::breaker::Options {
            failures_max: u32::MAX,
            ..Default::default()
        },
        ..Options::default()
    };
    let caller = Caller::new(options);
    let mut successes = 0;
    for attempt in 0..CALLS {
        let mut call = call(participant.endpoint());
        call.attempt = u32::try_from(attempt).unwrap();
        let outcome = caller.call(&call).await;
        let header = format!("outrigger-attempt: {attempt}");
        let asked = asked.lock().unwrap().get(&header).copied().unwrap_or(0);
        if outcome == done() {
            successes += 1;
            assert_eq!(asked, 1, "{header}");
        } else {
            assert_eq!(class(outcome), ErrorClass::Internal);
            assert!(asked <= 1, "{header} was sent {asked} times");
        }
    }
    assert!(successes > 0);
    assert!(participant.requests() <= CALLS);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    const CALLS: usize = 8;
    let all_here = Arc::new(tokio::sync::Barrier::new(CALLS));
    let participant = Scripted::start(move |_| {
        let all_here = Arc::clone(&all_here);
        async move {
            all_here.wait().await;
            Reply::Send(answer(200, "", b"done"))
        }
    })
    .await;
    let caller = Caller::new(Options {
        idle_connections_per_authority_max: 3,
        ..Options::default()
    });
    for _ in 0..2 {
        let call = call(participant.endpoint());
        let calls = (0..CALLS).map(|_| caller.call(&call));
        for outcome in futures::future::join_all(calls).await {
            assert_eq!(outcome, done());
        }
        participant.closed(CALLS - 3).await;
    }
    // Three of the first eight served the second round, too.
    participant.closed(2 * (CALLS - 3)).await;
    assert_eq!(participant.connections(), 2 * CALLS - 3);
}
