//! The consumer against a sidecar that breaks its streams.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod fake;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fake::{FakeConsumer, FakeProducer, Sidecar, consumer::State};
use outrigger_sdk::{
    Client, ConsumerBuilder, Stop,
    consumer::{Error, Guard, Received, Retry},
};

/// Runs a consumer until `is_enough`, then stops it gracefully.
async fn consume<F, Fut>(
    fake: &FakeConsumer,
    configure: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
    is_enough: impl Fn(&State) -> bool,
    handler: F,
) -> Result<(), Error>
where
    F: Fn(Received) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Retry>> + Send + 'static,
{
    let sidecar = Sidecar::start(FakeProducer::reliable(), fake.clone()).await;
    let client = Client::connect(sidecar.uri()).await.unwrap();
    let stop = Stop::new();
    let consumer = client
        .consumer("stock-service")
        .subscribe("orders", "*")
        .stop(stop.clone());
    let running = tokio::spawn(configure(consumer).run(handler));
    let enough = async {
        while !is_enough(&fake.state.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), enough)
        .await
        .expect("not enough came in time");
    stop.stop();
    running.await.unwrap()
}

#[tokio::test]
async fn every_message_is_acked_over_broken_streams_in_few_requests() {
    let fake = FakeConsumer::with_messages(5_000);
    fake.state.lock().unwrap().break_after = Some(9);
    let handled = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&handled);
    consume(
        &fake,
        |consumer| consumer.concurrency(200),
        |state| state.acked.len() == 5_000,
        move |message| {
            let seen = Arc::clone(&seen);
            async move {
                let number: u64 = std::str::from_utf8(message.body())?.parse()?;
                seen.lock().unwrap().insert(number);
                Ok(())
            }
        },
    )
    .await
    .unwrap();
    let state = fake.state.lock().unwrap();
    assert!(state.streams > 1);
    assert_eq!(handled.lock().unwrap().len(), 5_000);
    assert!(state.leased_max <= 400, "{} leased", state.leased_max);
    assert!(state.requests < 2_000, "{} requests", state.requests);
}

#[tokio::test]
async fn at_most_so_many_handlers_run_at_a_time() {
    let fake = FakeConsumer::with_messages(60);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, max) = (Arc::clone(&running), Arc::clone(&most));
    consume(
        &fake,
        |consumer| consumer.concurrency(5),
        |state| state.acked.len() == 60,
        move |_| {
            let (now, max) = (Arc::clone(&now), Arc::clone(&max));
            async move {
                max.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        },
    )
    .await
    .unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn failures_and_panics_give_the_message_back() {
    let fake = FakeConsumer::with_messages(3);
    let attempts = Arc::new(Mutex::new(BTreeSet::new()));
    consume(
        &fake,
        |consumer| consumer,
        |state| state.acked.len() == 3,
        move |message| {
            let is_first = attempts.lock().unwrap().insert(message.offset());
            async move {
                match (is_first, message.offset()) {
                    (true, 0) => Err(Retry::after(Duration::from_millis(1_500))),
                    (true, 1) => Err(std::io::Error::other("full").into()),
                    (true, _) => panic!("on purpose"),
                    (false, _) => Ok(()),
                }
            }
        },
    )
    .await
    .unwrap();
    let mut nacked = fake.state.lock().unwrap().nacked.clone();
    nacked.sort_unstable();
    assert_eq!(nacked, [(0, Some(1_500)), (1, None), (2, None)]);
}

#[tokio::test]
async fn a_failure_that_is_refused_for_now_stays_a_failure() {
    let fake = FakeConsumer::with_messages(1);
    fake.state.lock().unwrap().refuse = 3;
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    consume(
        &fake,
        |consumer| consumer.invisible(Duration::from_secs(1)),
        |state| state.acked.len() == 1,
        move |_| {
            let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match is_first {
                    true => Err(Retry::after(Duration::from_millis(70))),
                    false => Ok(()),
                }
            }
        },
    )
    .await
    .unwrap();
    assert_eq!(fake.state.lock().unwrap().nacked, [(0, Some(70))]);
    assert_eq!(handled.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_lease_is_extended_while_its_handler_runs() {
    let fake = FakeConsumer::with_messages(1);
    consume(
        &fake,
        |consumer| consumer.invisible(Duration::from_secs(1)),
        |state| state.acked.len() == 1,
        |_| async {
            tokio::time::sleep(Duration::from_millis(2_200)).await;
            Ok(())
        },
    )
    .await
    .unwrap();
    let extended = fake.state.lock().unwrap().extended.get(&0).copied();
    assert!((3..=7).contains(&extended.unwrap()), "{extended:?}");
}

#[tokio::test]
async fn a_stopped_consumer_finishes_what_runs_and_gives_back_the_rest() {
    let fake = FakeConsumer::with_messages(10);
    let started = Arc::new(AtomicUsize::new(0));
    let begun = Arc::clone(&started);
    consume(
        &fake,
        |consumer| consumer.concurrency(2).prefetch(3),
        move |state| state.leased.len() == 5 && started.load(Ordering::SeqCst) == 2,
        move |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(())
            }
        },
    )
    .await
    .unwrap();
    let state = fake.state.lock().unwrap();
    assert_eq!(state.acked.len(), 2);
    assert_eq!(state.nacked.len(), 3);
    assert!(state.nacked.iter().all(|(_, delay)| *delay == Some(0)));
    assert_eq!(state.waiting.len(), 8);
    assert!(state.leased.is_empty());
}

#[tokio::test]
async fn a_guard_skips_what_is_done_and_waits_for_others() {
    let fake = FakeConsumer::with_messages(3);
    {
        let mut state = fake.state.lock().unwrap();
        state.guards.insert("message-0".to_owned(), true);
        state.guards.insert("message-1".to_owned(), false);
    }
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    consume(
        &fake,
        |consumer| consumer.guard(Guard::record()),
        |state| state.acked.len() == 2 && !state.nacked.is_empty(),
        move |message| {
            seen.lock()
                .unwrap()
                .push((message.offset(), message.fencing()));
            async { Ok(()) }
        },
    )
    .await
    .unwrap();
    assert_eq!(*handled.lock().unwrap(), [(2, Some(3))]);
    let state = fake.state.lock().unwrap();
    assert_eq!(state.nacked[0], (1, Some(7)));
    assert_eq!(state.guards.get("message-2"), Some(&true));
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_consumer() {
    let sidecar = Sidecar::start(FakeProducer::reliable(), FakeConsumer::default()).await;
    let client = Client::connect(sidecar.uri()).await.unwrap();
    let ended = client
        .consumer("bad%%")
        .subscribe("orders", "*")
        .run(|_| async { Ok(()) })
        .await;
    assert!(matches!(ended, Err(Error::Refused(_))), "{ended:?}");
    let ended = client.consumer("g").run(|_| async { Ok(()) }).await;
    assert!(matches!(ended, Err(Error::NoSubscription)));
}
